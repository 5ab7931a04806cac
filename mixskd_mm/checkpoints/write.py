"""Write a file so that it appears complete and checked, or not at all."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable
from pathlib import Path

import torch

from mixskd_mm.errors import InputError


def write_checked(out: str, content, check: Callable[[str], None], save: Callable = torch.save) -> None:
    """Save ``content`` beside ``out`` under a temporary name, ``check`` that file, then give it its name.

    Args:
        out (str): The file's final name; its folder is made if it is missing.
        content: What ``save`` takes as its first argument.
        check (Callable): Gets the temporary name; if it raises, nothing is left under either name.
        save (Callable): ``save(content, path)``. Defaults to ``torch.save``.

    Raises:
        InputError: if the place cannot be written to.
    """
    folder = os.path.dirname(os.path.abspath(out))
    try:
        if os.path.isdir(out):
            raise IsADirectoryError(None, 'it is a folder')
        os.makedirs(folder, exist_ok=True)
        handle, partial = tempfile.mkstemp(dir=folder, prefix=f'.{os.path.basename(out)}.')
    except OSError as error:
        raise InputError(f'cannot write {out}: {error.strerror}') from error
    os.close(handle)
    try:
        save(content, partial)
        check(partial)
        # Temporary files are private; this one gets the mode that any new file would have.
        mask = os.umask(0)
        os.umask(mask)
        os.chmod(partial, 0o666 & ~mask)
        os.replace(partial, out)
    finally:
        if os.path.exists(partial):
            os.remove(partial)


def write_text(out: str, text: str) -> None:
    """Write ``text`` to ``out``, all of it or nothing. Raises InputError as :func:`write_checked`."""
    write_checked(out, text, lambda path: None, lambda text, path: Path(path).write_text(text))
