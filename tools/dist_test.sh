#!/usr/bin/env bash
# Evaluate on several GPUs. On several machines, run it on each with NNODES, NODE_RANK and MASTER_ADDR set.
set -euo pipefail
USAGE="usage: [NNODES=1 NODE_RANK=0 MASTER_ADDR=host PORT=29500] $0 CONFIG CHECKPOINT GPUS [options of test.py]"
if [[ ${1:-} == -h || ${1:-} == --help ]]; then
    echo "$USAGE"
    exit
elif [ $# -lt 3 ]; then
    echo "$USAGE" >&2
    exit 2
fi
CONFIG=$1
CHECKPOINT=$2
GPUS=$3

# shellcheck source=tools/rendezvous.sh
source "$(dirname "$0")/rendezvous.sh"
exec python "$(dirname "$0")/launch.py" "${RENDEZVOUS[@]}" --nproc-per-node="$GPUS" \
    "$(dirname "$0")/test.py" "$CONFIG" "$CHECKPOINT" --launcher pytorch "${@:4}"
