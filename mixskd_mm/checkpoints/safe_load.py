"""Load checkpoints without running code from them."""

from __future__ import annotations

import os
import pickle
import zipfile
import zlib
from collections.abc import Callable
from typing import IO
from urllib.error import URLError
from urllib.parse import urlparse

import numpy as np
import torch
from mmengine.logging import HistoryBuffer
from mmengine.runner import CheckpointLoader
from torch.utils import model_zoo

from mixskd_mm.differences import numpy_core, replace_mmengines_loaders, safe_globals
from mixskd_mm.errors import InputError

from .config_text import make_configs_harmless
from .parts import without_wrapper


def _history_buffer_attribute(owner: type, name: str):
    """What ``getattr`` may do while a checkpoint is read: find HistoryBuffer's own statistics, nothing else."""
    if owner is not HistoryBuffer or name not in ('min', 'max', 'mean', 'current'):
        raise pickle.UnpicklingError(f'getattr of {name!r} is not allowed')
    return getattr(owner, name)


# Besides tensors, mmengine's checkpoints hold its log: HistoryBuffers of NumPy arrays.
SAFE_GLOBALS = [
    HistoryBuffer,
    (_history_buffer_attribute, 'builtins.getattr'),
    slice,
    np.ndarray,
    np.dtype,
    *(type(np.dtype(t)) for t in (np.float32, np.float64, np.int32, np.int64, np.uint32, np.bool_)),
    (numpy_core.multiarray._reconstruct, 'numpy.core.multiarray._reconstruct'),
    (numpy_core.multiarray._reconstruct, 'numpy._core.multiarray._reconstruct'),
    (numpy_core.multiarray.scalar, 'numpy.core.multiarray.scalar'),
    (numpy_core.multiarray.scalar, 'numpy._core.multiarray.scalar'),
]


def load_data_only(source: str, load: Callable[[], dict]) -> dict:
    """``load()``, which has to use ``weights_only=True``, allowed to read what mmengine's checkpoints hold.

    Raises:
        InputError: naming ``source``, if it is damaged, no checkpoint, or holds objects other than tensors, numbers and
            mmengine's log, or a config text that would do more than assign literals.
    """
    try:
        with safe_globals(SAFE_GLOBALS):
            checkpoint = load()
    except URLError:
        raise
    # What damaged bytes raise depends on what the unpickler takes them for.
    except Exception as error:
        reason = _reason(error)
        if isinstance(error, pickle.UnpicklingError) and not reason.startswith('Unsupported operand'):
            raise InputError(
                f'checkpoint {source} was refused, since loading it would run code from it ({reason}): expected '
                "tensors, numbers and mmengine's log"
            ) from error
        raise InputError(f'checkpoint {source} is damaged, cut short or no checkpoint ({reason})') from error
    state = checkpoint.get('state_dict', checkpoint) if isinstance(checkpoint, dict) else checkpoint
    if not isinstance(state, dict):
        raise InputError(f'checkpoint {source} holds a {type(state).__name__}: expected a dict of tensors')
    odd = [name for name in state if not isinstance(name, str)]
    if odd:
        raise InputError(f'checkpoint {source} has a tensor named {odd[0]!r}: expected names')
    make_configs_harmless(checkpoint, source)
    # As wrapped models save themselves; mmengine strips it in some of the places that load, not in init_cfg.
    if 'state_dict' in checkpoint and all(str(name).startswith('module.') for name in state):
        checkpoint['state_dict'] = without_wrapper(state)
    return checkpoint


def _reason(error: Exception) -> str:
    """The line of PyTorch's message that says what is wrong with the file, without its advice."""
    message = str(error).rpartition('WeightsUnpickler error: ')[2]
    advice = ('Weights only load failed', 'Check the documentation')
    lines = [line.strip().split('. ')[0] for line in message.splitlines() if not line.startswith(advice)]
    return next(filter(None, lines), type(error).__name__)


@CheckpointLoader.register_scheme(prefixes='', force=True)
def load_local_checkpoint(filename: str, map_location=None) -> dict:
    """Load a local checkpoint file of mmengine, or of tensors, with ``weights_only=True``.

    Registered as mmengine's loader of local files, so that resuming, ``load_from`` and ``init_cfg`` use it. mmengine's own
    falls back to unrestricted unpickling, which runs whatever code the file contains.

    Raises:
        InputError: as :func:`load_data_only` and :func:`check_archive`, or if the file is missing.
    """
    filename = os.path.expanduser(filename)
    try:
        open(filename, 'rb').close()
    except OSError as error:
        problem = 'does not exist' if isinstance(error, FileNotFoundError) else f'cannot be read: {error.strerror}'
        raise InputError(f'checkpoint {filename} {problem}', filename) from error
    check_archive(filename, filename)
    return load_data_only(filename, lambda: torch.load(filename, map_location=map_location, weights_only=True))


def check_archive(file: str | IO[bytes], source: str) -> None:
    """Compare the content of a checkpoint with the checksums in it, which ``torch.load`` does not.

    Files of the format before PyTorch 1.6 have none and pass. A file that has passed is not read again while it stays the
    same.

    Raises:
        InputError: naming ``source``, if it is damaged.
    """
    if not zipfile.is_zipfile(file):
        return
    known = isinstance(file, str) and _identity(file)
    if known in _passed:
        return
    try:
        with zipfile.ZipFile(file) as archive:
            damaged = archive.testzip()
    # What else a damaged directory of the archive leads to.
    except (zipfile.BadZipFile, zlib.error, OSError, EOFError, ValueError, NotImplementedError, RuntimeError) as error:
        raise InputError(f'checkpoint {source} is damaged ({error})') from error
    if damaged is not None:
        raise InputError(f'checkpoint {source} is damaged: the checksum of {damaged} differs')
    if known:
        _passed.add(known)


# What check_archive has read, so that choosing a checkpoint and loading it reads it once.
_passed: set[tuple] = set()


def _identity(file: str) -> tuple:
    """Changes when the content of a file does."""
    about = os.stat(file)
    return about.st_dev, about.st_ino, about.st_size, about.st_mtime_ns, about.st_ctime_ns


def _load_downloaded(url: str, model_dir: str | None = None, **kwargs) -> dict:
    folder = model_dir or os.path.join(torch.hub.get_dir(), 'checkpoints')
    checkpoint = load_data_only(url, lambda: model_zoo.load_url(url, folder, **kwargs, weights_only=True))
    file = os.path.join(folder, os.path.basename(urlparse(url).path))
    check_archive(file, f'{url}, downloaded to {file},')
    return checkpoint


def _load_fetched(file, map_location=None, weights_only=True) -> dict:
    check_archive(file, str(file))
    if not isinstance(file, str):
        file.seek(0)
    return load_data_only(str(file), lambda: torch.load(file, map_location=map_location, weights_only=True))


# mmengine's loaders of http://, torchvision://, mmcls:// and open-mmlab:// addresses call the one, of stores the other.
replace_mmengines_loaders(_load_downloaded, _load_fetched)
