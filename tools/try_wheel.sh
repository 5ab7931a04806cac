#!/usr/bin/env bash
# Import the wheel in dist/ where the repository is not, beside the libraries of the environment that PYTHON is of.
#
#   bash tools/try_wheel.sh PYTHON
set -euo pipefail
python=$(cd "$(dirname "$1")" && pwd)/$(basename "$1")
wheel=$(ls "$PWD"/dist/*.whl)
place=$(mktemp -d)
trap 'rm -rf "$place"' EXIT
"$python" -m pip install --quiet --no-deps --target "$place" "$wheel"
cd "$place"
PYTHONPATH=$place "$python" -c "
import mixskd_mm
from pathlib import Path
place = Path(mixskd_mm.__file__).resolve().parents[1]
assert place == Path('$place').resolve(), place
model = mixskd_mm.get_model('mixskd_r18_cifar100')
print(f'{mixskd_mm.__version__}: {len(mixskd_mm.list_models())} recipes, {type(model).__name__}')
"
echo "$wheel works"
