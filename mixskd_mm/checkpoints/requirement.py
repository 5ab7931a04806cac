"""Libraries that only some of the formats need."""

from __future__ import annotations

from importlib import import_module
from types import ModuleType

from mixskd_mm.errors import InputError


def required(module: str, format: str) -> ModuleType:
    """The imported ``module``. Raises InputError, which says what to install, if it is missing."""
    try:
        return import_module(module)
    except ImportError as error:
        library = module.partition('.')[0]
        raise InputError(f'the format {format} needs {library}: pip install {library}') from error
