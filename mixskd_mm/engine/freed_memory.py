"""Let training on CPUs use its memory again instead of asking the system for it in each step."""

from __future__ import annotations

import ctypes
import platform

from mmengine.hooks import Hook
from mmengine.registry import HOOKS
from mmengine.runner import Runner

# Parameters of glibc's mallopt(3).
M_TRIM_THRESHOLD, M_MMAP_THRESHOLD, M_MMAP_MAX = -1, -3, -4


def keep_freed_memory(keep: bool = True) -> None:
    """Whether the C library keeps the memory that tensors free, for the next tensors.

    By default it returns large blocks to the system, which has to fill them with zeros, page by page, each time they are
    asked for again. Without glibc nothing happens.

    Args:
        keep (bool): False returns to what glibc's own thresholds end up at in a training. Defaults to True.
    """
    if platform.libc_ver()[0] != 'glibc':
        return
    mallopt = ctypes.CDLL(None).mallopt
    mallopt(M_MMAP_MAX, 0 if keep else 65536)
    mallopt(M_MMAP_THRESHOLD, 32 * 2**20)
    mallopt(M_TRIM_THRESHOLD, -1 if keep else 64 * 2**20)


@HOOKS.register_module()
class KeepFreedMemoryHook(Hook):
    """:func:`keep_freed_memory` for a run on CPUs, whose process keeps its largest size. On GPUs it does nothing."""

    def before_run(self, runner: Runner) -> None:
        if next(runner.model.parameters()).device.type == 'cpu':
            keep_freed_memory()
