"""Keep other processes out of a folder."""

from __future__ import annotations

import contextlib
import fcntl
from collections.abc import Iterator
from pathlib import Path

from mixskd_mm.errors import InputError


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
