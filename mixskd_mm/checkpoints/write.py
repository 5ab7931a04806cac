"""Write a file so that it appears complete and checked, or not at all."""

from __future__ import annotations

import contextlib
import errno
import glob
import io
import logging
import os
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import cv2
import numpy as np
import torch
from mmengine.fileio import LocalBackend, register_backend

from mixskd_mm.errors import InputError
from mixskd_mm.locks import lock

if TYPE_CHECKING:
    from matplotlib.figure import Figure

CHUNK = 1 << 24
UNFINISHED = '.unfinished'
# What is wrong with a place, rather than with the program.
STORAGE_ERRORS = (
    *(errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO, errno.EROFS, errno.EACCES, errno.EPERM),
    *(errno.ENOTDIR, errno.EISDIR, errno.ENAMETOOLONG),
)


def write_file(
    out: str, data: bytes | memoryview, check: Callable[[str], None] | None = None, flush: bool = True
) -> None:
    """Write ``data`` beside ``out`` under a temporary name, check that file, then give it its name.

    Args:
        out (str): The file's final name; its folder is made if it is missing.
        data (bytes): Its content. It is read back and compared.
        check (Callable, optional): Gets the temporary name; if it raises, nothing is left under either name. Defaults to
            None.
        flush (bool): Wait until the disk has it, so that it survives a loss of power. Defaults to True.

    Raises:
        InputError: if the place cannot be written to, with the bytes that were needed and are free, or if the file reads
            back otherwise.
    """
    # Through a symbolic link, which stays.
    target = os.path.realpath(out)
    folder = os.path.dirname(target)
    partial = None
    try:
        if os.path.isdir(out):
            raise IsADirectoryError(None, 'it is a folder')
        os.makedirs(folder, exist_ok=True)
        prefix = f'.{os.path.basename(out)[:100]}.'
        remove_unfinished(folder, prefix)
        handle, partial = tempfile.mkstemp(dir=folder, prefix=prefix, suffix=UNFINISHED)
        with open(handle, 'wb') as file:
            # Held as long as the file is written, by a process that lives; some file systems have no locks.
            with contextlib.suppress(OSError):
                lock(file)
            file.write(data)
            file.flush()
            if flush:
                os.fsync(file.fileno())
            check_content(partial, data, out)
            if check is not None:
                check(partial)
            # Temporary files are private; this one gets the mode that any new file would have.
            mask = os.umask(0)
            os.umask(mask)
            os.chmod(partial, 0o666 & ~mask)
            os.replace(partial, target)
        if flush:
            flush_folder(folder)
    except OSError as error:
        raise InputError(f'cannot write {out}: {error.strerror or error}{space(len(data), folder)}') from error
    finally:
        if partial is not None and os.path.exists(partial):
            os.remove(partial)


def write_folder(out: str, files: dict[str, bytes], check: Callable[[str], None] | None = None) -> None:
    """Write a new folder under a temporary name beside ``out``, check it, then give it its name.

    Args:
        out (str): The folder's final name. It may exist if it is empty.
        files (dict[str, bytes]): What the files in it hold.
        check (Callable, optional): Gets the temporary name; if it raises, nothing is left. Defaults to None.

    Raises:
        InputError: if ``out`` is a file or holds something already, or as :func:`write_file`.
    """
    target = os.path.realpath(out)
    if os.path.exists(target) and (not os.path.isdir(target) or os.listdir(target)):
        raise InputError(f'{out} exists already: expected the name of a new folder, or an empty one')
    parent = os.path.dirname(target)
    partial = None
    try:
        os.makedirs(parent, exist_ok=True)
        partial = tempfile.mkdtemp(dir=parent, prefix=f'.{os.path.basename(target)[:100]}.', suffix=UNFINISHED)
        for name, data in files.items():
            write_file(os.path.join(partial, name), data)
        if check is not None:
            check(partial)
        mask = os.umask(0)
        os.umask(mask)
        os.chmod(partial, 0o777 & ~mask)
        if os.path.isdir(target):
            os.rmdir(target)
        os.replace(partial, target)
        flush_folder(parent)
    except OSError as error:
        raise InputError(f'cannot write {out}: {error.strerror or error}{space(0, parent)}') from error
    finally:
        if partial is not None:
            shutil.rmtree(partial, ignore_errors=True)


def check_other_file(out: str, source: str) -> None:
    """Raise InputError if ``out``, which is to be written, is the file ``source`` that it is made from, by any name."""
    if os.path.exists(out) and os.path.samefile(out, source):
        raise InputError(f'{out} is the file {source} that it is made from: expected another one to write')


def remove_unfinished(folder: str, prefix: str) -> None:
    """Remove what killed processes left of a file: what has its temporary name, but nobody's lock."""
    for path in glob.glob(os.path.join(glob.escape(folder), f'{glob.escape(prefix)}*{UNFINISHED}')):
        # Another process may have removed it, or be writing it.
        with contextlib.suppress(OSError), open(path, 'rb') as file:
            lock(file)
            os.remove(path)


def check_content(path: str, data: bytes | memoryview, out: str) -> None:
    """Raise InputError, naming ``out``, unless the file ``path`` holds ``data``."""
    view = memoryview(data)
    with open(path, 'rb') as file:
        same = all(file.read(CHUNK) == view[start : start + CHUNK] for start in range(0, len(view), CHUNK))
        if not same or file.read(1):
            raise InputError(f'cannot write {out}: it reads back otherwise; expected a sound disk')


def flush_folder(folder: str) -> None:
    """Wait until the disk has the names in a folder, on systems that can."""
    if not hasattr(os, 'O_DIRECTORY'):
        return
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def space(needed: int, folder: str) -> str:
    """What a message says of the room for ``needed`` bytes, 0 if unknown; '' if the folder does not exist."""
    if not os.path.isdir(folder):
        return ''
    free = f'{size(shutil.disk_usage(folder).free)} are free'
    return f' (it needs {size(needed)}; {free})' if needed else f' ({free})'


def size(count: int) -> str:
    """A number of bytes for people."""
    return f'{count / 2**20:.1f} MiB' if count >= 2**20 else f'{count / 2**10:.1f} KiB'


@contextlib.contextmanager
def naming_storage_errors(folder: str) -> Iterator[None]:
    """Around what writes into ``folder`` otherwise, such as logs: a full disk, no permission and the like are input errors.

    They also end what logs; Python's logging would print their traceback for every line and go on.

    Raises:
        InputError: naming the file, or the folder if the system does not say which file it was.
    """
    handle = logging.Handler.handleError

    def raise_storage_errors(handler: logging.Handler, record: logging.LogRecord) -> None:
        error = sys.exc_info()[1]
        if isinstance(error, OSError) and error.errno in STORAGE_ERRORS:
            raise error
        handle(handler, record)

    logging.Handler.handleError = raise_storage_errors
    try:
        yield
    except OSError as error:
        if error.errno not in STORAGE_ERRORS:
            raise
        # With a name, it may also be a file of the data.
        place = f'write to {folder}' if error.filename is None else f'read or write {error.filename}'
        raise InputError(f'cannot {place}: {error.strerror}{space(0, folder)}') from error
    finally:
        logging.Handler.handleError = handle


def write_text(out: str, text: str) -> None:
    """Write ``text`` to ``out``, all of it or nothing. Raises InputError as :func:`write_file`."""
    write_file(out, text.encode())


def write_figure(out: str, figure: Figure, dpi: int = 120) -> None:
    """Write a picture in the format that its name says. Raises InputError as :func:`write_file`."""
    file = io.BytesIO()
    figure.savefig(file, format=Path(out).suffix[1:], dpi=dpi)
    write_file(out, file.getvalue())


def write_image(out: str, pixels: np.ndarray, flush: bool = True) -> None:
    """Write pixels ``(H, W, 3)``, BGR, or ``(H, W)``, uint8, in the format that the file's name says.

    Raises InputError as :func:`write_file`, which has ``flush``.
    """
    write_file(out, cv2.imencode(Path(out).suffix, pixels)[1].tobytes(), flush=flush)


def as_bytes(content) -> memoryview:
    """``content`` as ``torch.save`` writes it."""
    file = io.BytesIO()
    torch.save(content, file)
    return file.getbuffer()


@register_backend('local', force=True, prefixes='')
class WholeFileBackend(LocalBackend):
    """mmengine's local files, whole or not there: checkpoints and whatever else mmengine writes through its backends."""

    def put(self, obj: bytes, filepath: str | Path) -> None:
        """Write bytes. Raises InputError as :func:`write_file`."""
        write_file(str(filepath), obj)

    def put_text(self, obj: str, filepath: str | Path, encoding: str = 'utf-8') -> None:
        """Write text. Raises InputError as :func:`write_file`."""
        write_file(str(filepath), obj.encode(encoding))
