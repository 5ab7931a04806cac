import platform
import subprocess
import sys

import pytest
import tiny
from mmengine.config import Config
from mmengine.registry import HOOKS

from mixskd_mm.engine.freed_memory import KeepFreedMemoryHook, keep_freed_memory

# In a process of its own: what other tests allocated would decide where new memory comes from.
COUNT_PAGES = """
import resource
import torch
from mixskd_mm.engine.freed_memory import keep_freed_memory

def pages_asked_for():
    # The first ones may split a free block.
    for _ in range(4):
        before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
        torch.zeros(256 * 2**20, dtype=torch.uint8)
        pages = resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before
    return pages

for keep in (True, False, True):
    keep_freed_memory(keep)
    print(pages_asked_for())
"""


@pytest.mark.skipif(platform.libc_ver()[0] != 'glibc', reason='needs glibc')
def test_freed_memory_is_used_again():
    """Memory pages that the system has to provide while a large tensor is made, freed and made again."""
    command = [sys.executable, '-c', COUNT_PAGES]
    result = subprocess.run(command, env=tiny.environment(), capture_output=True, text=True, check=True)
    _, returned, kept = map(int, result.stdout.split()[-3:])
    # A page is 4 KiB, or 2 MiB where the system gives huge ones.
    assert returned >= 256 * 2**20 // 2**21 and kept < returned / 10


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
