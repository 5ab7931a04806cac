import platform
import subprocess
import sys

import pytest
import tiny
from mmengine.config import Config
from mmengine.registry import HOOKS

from mixskd_mm.engine.freed_memory import KeepFreedMemoryHook, keep_freed_memory

# In a process of its own: what other tests allocated would decide where new memory comes from.
MEASURE_RESIDENT_MEMORY = """
import psutil
import torch
from mixskd_mm.engine.freed_memory import keep_freed_memory

SIZE = 128 * 2**20

def resident():
    return psutil.Process().memory_info().rss

def after_eight_tensors():
    for _ in range(8):
        torch.ones(SIZE, dtype=torch.uint8)
    return resident()

keep_freed_memory(False)
start = resident()
tensor = torch.ones(SIZE, dtype=torch.uint8)
measured = [resident()]
del tensor
measured.append(after_eight_tensors())
keep_freed_memory()
measured.append(after_eight_tensors())
keep_freed_memory(False)
measured.append(resident())
print(*((memory - start) / SIZE for memory in measured))
"""


@pytest.mark.skipif(platform.libc_ver()[0] != 'glibc', reason='needs glibc')
def test_freed_memory_stays_with_the_process_and_is_used_again():
    """Resident memory, in sizes of a large tensor, after eight of them were made and freed one after the other.

    Unlike the page faults on the way, it does not depend on how large the system's pages are and how it counts them.
    """
    command = [sys.executable, '-c', MEASURE_RESIDENT_MEMORY]
    result = subprocess.run(command, env=tiny.environment(), capture_output=True, text=True, check=True)
    in_use, by_default, kept, given_back = map(float, result.stdout.split()[-4:])
    if not 0.9 < in_use < 1.1:
        pytest.skip(f'the system counts {in_use:.0%} of a tensor in use as resident memory: nothing to measure')
    assert abs(by_default) < 0.1 and abs(given_back) < 0.1
    # They may take turns in two blocks.
    assert 0.9 < kept < 2.1


@pytest.fixture
def asked(monkeypatch):
    calls = []
    monkeypatch.setattr('mixskd_mm.engine.freed_memory.keep_freed_memory', lambda: calls.append(True))
    return calls


def test_a_run_on_cpus_asks_for_it(asked, tmp_path):
    tiny.train(tiny.make_config(tmp_path, {'train_cfg.max_epochs': 1}))
    assert asked == [True]


@pytest.mark.parametrize(
    'recipe', ['mixskd_r50_imagenet', 'cifar100/baseline_r18_cifar100', 'fine_grained/baseline_r18_cub']
)
def test_recipes_name_it(recipe):
    cfg = Config.fromfile(tiny.ROOT / 'configs' / f'{recipe}.py')
    assert HOOKS.get(cfg.default_hooks.memory.type) is KeepFreedMemoryHook


@pytest.mark.parametrize('device', ['cuda', 'mps'])
def test_elsewhere_it_does_nothing(device, asked, monkeypatch):
    monkeypatch.setattr('mixskd_mm.engine.freed_memory.get_device', lambda: device)
    KeepFreedMemoryHook().before_train(None)
    assert asked == []


@pytest.mark.parametrize('keep', [True, False])
def test_without_glibc_nothing_happens(keep, monkeypatch):
    monkeypatch.setattr(platform, 'libc_ver', lambda: ('', ''))
    monkeypatch.setattr('ctypes.CDLL', None)
    keep_freed_memory(keep)
