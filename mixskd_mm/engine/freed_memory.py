"""Let training on CPUs use its memory again instead of asking the system for it in each step."""

from __future__ import annotations

import ctypes
import platform

from mmengine.device import get_device
from mmengine.hooks import Hook
from mmengine.registry import HOOKS

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
    libc = ctypes.CDLL(None)
    libc.mallopt(M_MMAP_MAX, 0 if keep else 65536)
    libc.mallopt(M_MMAP_THRESHOLD, 32 * 2**20)
    libc.mallopt(M_TRIM_THRESHOLD, -1 if keep else 64 * 2**20)
    if not keep:
        # What was kept so far goes back.
        libc.malloc_trim(0)


@HOOKS.register_module()
class KeepFreedMemoryHook(Hook):
    """:func:`keep_freed_memory` for a training on CPUs; on GPUs it does nothing.

    The process and the workers of its data loaders keep their largest size.
    """

    def before_train(self, runner) -> None:
        if get_device() == 'cpu':
            keep_freed_memory()
