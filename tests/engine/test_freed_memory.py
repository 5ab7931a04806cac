import platform
import subprocess
import sys

import pytest
import tiny

from mixskd_mm.engine.freed_memory import keep_freed_memory

# In a process of its own: what other tests allocated would decide where new memory comes from.
COUNT_PAGES = """
import resource
import torch
from mixskd_mm.engine.freed_memory import keep_freed_memory

def pages_asked_for():
    for _ in range(2):
        before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
        torch.zeros(256 * 2**20, dtype=torch.uint8)
        pages = resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before
    return pages

for keep in (False, True):
    keep_freed_memory(keep)
    print(pages_asked_for())
"""


@pytest.mark.skipif(platform.libc_ver()[0] != 'glibc', reason='needs glibc')
def test_freed_memory_is_used_again():
    """Memory pages that the system has to provide while a large tensor is made, freed and made again."""
    command = [sys.executable, '-c', COUNT_PAGES]
    result = subprocess.run(command, env=tiny.environment(), capture_output=True, text=True, check=True)
    returned, kept = map(int, result.stdout.split()[-2:])
    # A page is 4 KiB, or 2 MiB where the system gives huge ones.
    assert returned >= 256 * 2**20 // 2**21 and kept < returned / 10


def test_a_run_can_ask_for_it(tmp_path, monkeypatch):
    asked = []
    monkeypatch.setattr('mixskd_mm.engine.freed_memory.keep_freed_memory', lambda: asked.append(True))
    options = {'train_cfg.max_epochs': 1, 'default_hooks.memory.type': 'KeepFreedMemoryHook'}
    tiny.train(tiny.make_config(tmp_path, options))
    assert asked == [True]


@pytest.mark.parametrize('keep', [True, False])
def test_without_glibc_nothing_happens(keep, monkeypatch):
    monkeypatch.setattr(platform, 'libc_ver', lambda: ('', ''))
    monkeypatch.setattr('ctypes.CDLL', None)
    keep_freed_memory(keep)
