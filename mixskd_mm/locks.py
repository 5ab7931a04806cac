"""Keep other processes out of a folder."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path
from typing import IO

try:
    import fcntl
except ImportError:
    # Windows: nothing keeps two runs apart there.
    fcntl = None

from mixskd_mm.errors import InputError

# Where mmengine's launchers find the rank.
RANKS = {'pytorch': 'RANK', 'slurm': 'SLURM_PROCID', 'mpi': 'OMPI_COMM_WORLD_RANK'}


def lock(file: IO, wait: bool = False) -> None:
    """Lock an open file as long as it is open; on Windows nothing happens.

    Raises:
        BlockingIOError: if another process has it and ``wait`` is False.
        OSError: if the file system has no locks.
    """
    if fcntl is not None:
        fcntl.flock(file, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))


@contextlib.contextmanager
def try_lock(path: Path, wait: bool = False) -> Iterator[bool]:
    """Hold the lock ``path``, or give False if another process has it; the system frees it if this process ends.

    Args:
        path (Path): A file, made if it is missing.
        wait (bool): Wait until the lock is free. Defaults to False.

    Raises:
        InputError: if the file system has no locks.
    """
    with path.open('w') as file:
        try:
            lock(file, wait)
        except BlockingIOError:
            yield False
            return
        except OSError as error:
            raise InputError(
                f'{path} cannot be locked ({error.strerror}): expected a file system with locks'
            ) from error
        yield True


@contextlib.contextmanager
def locked(folder: Path, name: str = '.lock') -> Iterator[None]:
    """Hold the lock ``folder/name``, which the system frees when this process ends, however it does.

    Raises:
        InputError: if another process holds it, the folder cannot be made, or its file system has no locks.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        (folder / name).touch()
    except OSError as error:
        raise InputError(f'cannot write to {folder}: {error.strerror}') from error
    with try_lock(folder / name) as free:
        if not free:
            raise InputError(f'{folder} is being trained by another process: wait for it, or stop it')
        yield


def is_first_process(launcher: str) -> bool:
    """Whether this process is rank 0 of its run, before the processes have met.

    Args:
        launcher (str): ``none`` (each process is a run of its own, whatever the environment says), ``pytorch``, ``slurm`` or
            ``mpi``.
    """
    return launcher not in RANKS or os.environ.get(RANKS[launcher], '0') == '0'
