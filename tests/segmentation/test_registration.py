"""Importing mixskd_mm registers the parts that need mmseg, without importing it."""

import subprocess
import sys

import pytest
import tiny

from mixskd_mm.compat import supported

NAMES = {
    'MODELS': ('ProjectedASPPHead', 'ElementDropoutFCNHead'),
    'DATASETS': ('COCOStuff182Dataset',),
    'METRICS': ('AllClassIoUMetric',),
}


def run(code):
    result = subprocess.run([sys.executable, '-c', code], env=tiny.environment(), capture_output=True, text=True)
    assert result.returncode == 0, result.stderr
    return result.stdout.splitlines()


def test_mmseg_is_imported_when_a_part_is_built_and_missed_in_one_line():
    code = f"""
import sys
import mixskd_mm
from mmengine import registry
assert 'mmseg' not in sys.modules
sys.modules['mmseg'] = None
from mixskd_mm.errors import InputError
for name, parts in {NAMES}.items():
    for part in parts:
        try:
            getattr(registry, name).build(dict(type=part))
        except InputError as error:
            print(error)
"""
    parts = [part for parts in NAMES.values() for part in parts]
    mmseg = supported()['mmseg']
    reason = f'mixskd_mm supports mmseg {mmseg.range} but found none: {mmseg.install_command}'
    assert run(code)[-len(parts) :] == [f'{part} needs mmseg: {reason}' for part in parts]


@pytest.mark.parametrize(('name', 'part'), [(name, part) for name, parts in NAMES.items() for part in parts])
def test_mmseg_finds_them(name, part):
    import mmseg.registry

    assert callable(getattr(mmseg.registry, name).get(part))
