"""What differs between the supported versions of the libraries, so that the rest of the package need not know."""

from __future__ import annotations

import inspect
import logging
import warnings
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager
from types import ModuleType

import mmengine.logging
import numpy as np
import torch
from mmengine.runner import IterBasedTrainLoop, amp
from mmengine.runner import checkpoint as checkpoint_loaders
from mmengine.utils import digit_version

from .errors import InputError

# The compilers of torch 2.4 and 2.5 take each Mixture for another program, and update the statistics of a norm twice where
# activations are recomputed.
COMPILES = digit_version(torch.__version__) >= digit_version('2.11')

# Whether a resumed training that counts iterations goes on with its next batch; mmengine 0.10.0 begins with the first again.
SKIPS_BATCHES = 'Advance dataloader' in inspect.getsource(IterBasedTrainLoop)

# NumPy 2 renamed it; 1.26 has both names, the new one without content.
numpy_core = np.core if np.__version__.startswith('1.') else np._core


def keep_debug_messages_quiet() -> None:
    """Let mmengine's ``print_log`` print messages of level DEBUG to no terminal.

    The forks' libraries tell so at each import, in each process, that a library of theirs is not installed.
    """
    own = mmengine.logging.print_log

    def print_log(msg, logger=None, level=logging.INFO) -> None:
        if logger is not None or level > logging.DEBUG:
            own(msg, logger, level)

    mmengine.logging.print_log = print_log


@contextmanager
def safe_globals(allowed: Iterable) -> Iterator[None]:
    """Let ``torch.load(..., weights_only=True)`` read more types and call more functions than tensors need.

    Args:
        allowed: types and functions, or tuples of one and the name that it has in the file, as ``module.name``.
    """
    if digit_version(torch.__version__) >= digit_version('2.6'):
        with torch.serialization.safe_globals(list(allowed)):
            yield
        return
    # No tuples yet; and torch 2.4 has no such context, nor does it allow the bytes of which NumPy makes arrays.
    before = list(torch.serialization.get_safe_globals())
    torch.serialization.add_safe_globals([encode, *(named(*a) if isinstance(a, tuple) else a for a in allowed)])
    try:
        yield
    finally:
        torch.serialization.clear_safe_globals()
        torch.serialization.add_safe_globals(before)


def encode(text: str, encoding: str) -> bytes:
    """What pickle's protocol 2 calls ``_codecs.encode`` for."""
    return text.encode(encoding)


encode.__module__ = '_codecs'


def named(function: Callable, path: str) -> Callable:
    """``function`` under the name ``module.name``, by which torch before 2.6 looks it up."""

    def call(*args):
        return function(*args)

    call.__module__, _, call.__name__ = path.rpartition('.')
    return call


def replace_mmengines_loaders(load_url: Callable, load: Callable) -> None:
    """Let mmengine's loaders of addresses call ``load_url``, and those of stores ``load`` in the place of torch.load."""
    checkpoint_loaders.load_url = load_url
    if hasattr(checkpoint_loaders, '_safe_torch_load'):
        checkpoint_loaders._safe_torch_load = load
        return
    # Up to 0.10.7 they call torch.load itself.
    own = ModuleType('torch')
    own.__dict__.update(torch.__dict__, load=load)
    checkpoint_loaders.torch = own


def export_onnx(*arguments, **settings) -> None:
    """``torch.onnx.export`` by tracing, which needs no further library and which all supported versions have."""
    with warnings.catch_warnings():
        # torch 2.9 and later recommend another way; the file is checked, whichever way it was made.
        warnings.simplefilter('ignore')
        torch.onnx.export(*arguments, dynamo=False, **settings)


def check_compiler(setting: str) -> None:
    """Refuse to compile the step of a method with a torch whose compiler does not keep what it promises.

    Args:
        setting: what asks for it, for the message.

    Raises:
        InputError: naming ``setting`` and this torch.
    """
    if not COMPILES:
        raise InputError(
            f'{setting}: torch {torch.__version__} compiles each step of a method anew, expected torch >= 2.11 '
            '(docs/install.md: the forks) or none of it'
        )


def recompile_limit(number: int) -> AbstractContextManager:
    """Let a function be compiled up to ``number`` times."""
    options = torch._dynamo.config
    return options.patch(**{'recompile_limit' if hasattr(options, 'recompile_limit') else 'cache_size_limit': number})


def keep_version_checks_out_of_graphs() -> None:
    """Let ``torch.compile`` pass by the version checks that mmengine makes inside a step in mixed precision.

    The compiler cannot trace the parser of packaging 26 and ends with an error of its own.
    """
    amp.digit_version = torch.compiler.disable(amp.digit_version)
