"""Keep other processes out of a folder."""

from __future__ import annotations

import contextlib
import fcntl
import os
from collections.abc import Iterator
from pathlib import Path

from mixskd_mm.errors import InputError

# Where mmengine's launchers find the rank.
RANKS = {'pytorch': 'RANK', 'slurm': 'SLURM_PROCID', 'mpi': 'OMPI_COMM_WORLD_RANK'}


@contextlib.contextmanager
def locked(folder: Path, name: str = '.lock') -> Iterator[None]:
    """Hold the lock ``folder/name``, which the system frees when this process ends, however it does.

    Raises:
        InputError: if another process holds it, or the folder cannot be made.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        file = (folder / name).open('w')
    except OSError as error:
        raise InputError(f'cannot write to {folder}: {error.strerror}') from error
    with file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            raise InputError(f'{folder} is being trained by another process: wait for it, or stop it') from error
        yield


def is_first_process(launcher: str) -> bool:
    """Whether this process is rank 0 of its run, before the processes have met.

    Args:
        launcher (str): ``none`` (each process is a run of its own, whatever the environment says), ``pytorch``, ``slurm`` or
            ``mpi``.
    """
    return launcher not in RANKS or os.environ.get(RANKS[launcher], '0') == '0'
