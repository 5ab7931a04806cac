"""Find settings that nothing reads: misspelt ones."""

from __future__ import annotations

import difflib
import inspect
import re
import sys
from collections.abc import Iterable, Iterator, Mapping
from functools import cache
from importlib.util import find_spec
from pathlib import Path as File

from mmengine.config import Config
from mmengine.runner import Runner

from mixskd_mm.errors import InputError
from mixskd_mm.registries import registered

from .arguments import accepted
from .paths import Path, dotted, walk
from .values import shown

# Read by mmengine's Config, by this package and by the other tools of the host libraries.
OTHER_KEYS = ('custom_imports', 'trusted_annotations', 'own_data', 'work_dir', 'tta_model', 'tta_pipeline', 'fp16')
# Libraries whose code reads settings; the order in which they are searched.
LIBRARIES = (
    'mixskd_mm',
    'mmengine',
    'torch.utils.data',
    'torch.optim',
    'torch.nn',
    'mmcv',
    'mmpretrain',
    'mmdet',
    'mmseg',
)
LIBRARIES += ('torchvision.transforms',)
# Their own keys are names that the user gives: of parameters, of classes, of hooks.
FREE = ('custom_keys', 'metainfo', 'label_map', 'classwise', 'meta', 'default_hooks', 'options')


@cache
def top_level_keys() -> tuple[str, ...]:
    """The settings that a run reads from the top level of a config."""
    source = inspect.getsource(Runner)
    return (*dict.fromkeys(re.findall(r"cfg(?:\.get\(\s*|\[)'(\w+)'", source)), *OTHER_KEYS)


@cache
def words_of(module: str) -> frozenset[str]:
    """All words in the source of a package, whether loaded or not; of one of torch, in what is loaded of it."""
    if '.' in module:
        loaded = [part for name, part in list(sys.modules.items()) if name.startswith(module)]
        files = {File(part.__file__) for part in loaded if getattr(part, '__file__', None)}
    else:
        found = find_spec(module)
        files = File(found.origin).parent.rglob('*.py') if found is not None and found.origin else ()
    texts = (file.read_text(errors='ignore') for file in files if file.suffix == '.py' and '.mim' not in file.parts)
    return frozenset(word for text in texts for word in re.findall(r'[A-Za-z_]\w*', text))


def registered_words() -> frozenset[str]:
    """All words in the source of the modules outside :data:`LIBRARIES` that have registered something."""
    modules = {kind.__module__ for _, kind in registered() if hasattr(kind, '__module__')}
    own = [sys.modules.get(name) for name in modules if not name.startswith((*LIBRARIES, 'torch.'))]
    files = {File(module.__file__) for module in own if getattr(module, '__file__', None)}
    return frozenset(word for file in files for word in re.findall(r'[A-Za-z_]\w*', file.read_text(errors='ignore')))


def is_read(key: str) -> bool:
    """Whether the word ``key`` occurs in the code of anything that takes settings."""
    return any(key in words_of(library) for library in LIBRARIES) or key in registered_words()


def nearest(key: str, known: Iterable[str], cutoff: float = 0.6) -> str | None:
    """The name in ``known`` that is spelt most like ``key``."""
    return next(iter(difflib.get_close_matches(key, list(known), 1, cutoff)), None)


def check_keys(cfg: Config) -> Iterator[str]:
    """Refuse the keys of ``cfg`` that nothing reads.

    On the top level a config has variables too, so there a key is refused only if it is nearly the name of a setting
    and no other line of the config uses it.

    Yields:
        A notice for each other one that nothing uses.

    Raises:
        InputError: naming the first key and the nearest real one.
    """
    known = top_level_keys()
    config = cfg._cfg_dict
    for key, value in config.items():
        if key not in known and len(re.findall(rf'\b{re.escape(key)}\b', cfg.text or '')) < 2:
            real = nearest(key, [name for name in known if name not in OTHER_KEYS], cutoff=0.75)
            if real:
                raise InputError(f'{key}={shown(value)}: no such setting: expected {real}')
            # A config that mmengine has written keeps its variables, beside what they were used for.
            if '_base_' in (cfg.text or ''):
                yield f'{key}={shown(value)}: nothing reads this setting'
    for path, value in walk(config):
        key = path[-1]
        if len(path) < 2 or path[0] not in known or not isinstance(key, str) or key == 'type':
            continue
        if path[-2] in FREE or is_read(key):
            continue
        raise InputError(f'{dotted(path)}={shown(value)}: no such setting: {suggestion(path, config)}')


def suggestion(path: Path, config: Mapping) -> str:
    """What was expected instead of a key that nothing reads."""
    key, around = str(path[-1]), parent(config, path)
    own = accepted(around['type']) if isinstance(around, Mapping) and 'type' in around else set()
    own |= {str(name) for name in around if name != key}
    name = nearest(key, own) or nearest(key, frozenset().union(*map(words_of, LIBRARIES)))
    return f'expected {dotted((*path[:-1], name))}' if name else 'expected a setting that something reads'


def parent(config: Mapping, path: Path):
    """What holds the last key of a path."""
    for key in path[:-1]:
        config = config[key]
    return config


def check_new_keys(before: Mapping, options: Mapping[str, object]) -> None:
    """Raise InputError if an option sets a key on the top level that neither the config nor the Runner has."""
    known = {*top_level_keys(), *before}
    for option in options:
        key = option.split('.')[0]
        if key not in known:
            real = nearest(key, known)
            expected = f'expected {option.replace(key, real, 1)}' if real else 'expected a setting that something reads'
            raise InputError(f'--cfg-options {option}={shown(options[option])}: no such setting: {expected}')
