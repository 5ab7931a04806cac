"""Load checkpoints without running code from them."""

from __future__ import annotations

import os
import pickle

import numpy as np
import torch
from mmengine.logging import HistoryBuffer
from mmengine.runner import CheckpointLoader

from mixskd_mm.errors import InputError


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
    (np._core.multiarray._reconstruct, 'numpy.core.multiarray._reconstruct'),
    (np._core.multiarray._reconstruct, 'numpy._core.multiarray._reconstruct'),
    (np._core.multiarray.scalar, 'numpy.core.multiarray.scalar'),
    (np._core.multiarray.scalar, 'numpy._core.multiarray.scalar'),
]


@CheckpointLoader.register_scheme(prefixes='', force=True)
def load_local_checkpoint(filename: str, map_location=None):
    """Load a local checkpoint file of mmengine, or of tensors, with ``weights_only=True``.

    Registered as mmengine's loader of local files, so that resuming, ``load_from`` and ``init_cfg`` use it. mmengine's own
    falls back to unrestricted unpickling, which runs whatever code the file contains.

    Raises:
        InputError: naming the file, if it is missing, cut short, no checkpoint, or holds objects other than tensors,
            numbers and mmengine's log.
    """
    filename = os.path.expanduser(filename)
    if not os.path.isfile(filename):
        raise InputError(f'checkpoint {filename} does not exist')
    try:
        with torch.serialization.safe_globals(SAFE_GLOBALS):
            return torch.load(filename, map_location=map_location, weights_only=True)
    except pickle.UnpicklingError as error:
        reason = next(
            (line for line in str(error).splitlines() if 'GLOBAL' in line or 'not allowed' in line), 'not tensors'
        )
        raise InputError(
            f'checkpoint {filename} was refused, since loading it would run code from it ({reason.strip()}): expected '
            "tensors, numbers and mmengine's log"
        ) from error
    except (RuntimeError, EOFError, OSError, ValueError) as error:
        raise InputError(f'checkpoint {filename} is damaged or cut short ({str(error).split(". ")[0]})') from error
