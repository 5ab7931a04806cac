"""Read configs, put a method's lines onto another baseline, override settings, run on CPU processes."""

from __future__ import annotations

import ast
import contextlib
import os
import tempfile
from collections.abc import Mapping
from datetime import timedelta
from pathlib import Path

import torch
from mmengine.config import Config

from mixskd_mm.compat import OPTIONAL, import_library
from mixskd_mm.errors import InputError, last_line
from mixskd_mm.settings.keys import check_new_keys


def read_config(path: str, baseline: str | None = None) -> Config:
    """Read a config file.

    Args:
        path (str): The file.
        baseline (str, optional): Config of a plain classifier, for another network or data set. It takes the place of the
            ``baseline_*.py`` that ``path`` is based on, directly or through others. Defaults to None: as it is.

    Returns:
        Config: Its ``filename`` is ``path``, or ``<path>-on-<baseline>.py``, a file that does not exist.

    Raises:
        InputError: if a file is no config, is based on a library that is not installed, or does not fit the baseline.
    """
    try:
        cfg = Config.fromfile(path) if baseline is None else read_on_baseline(Path(path), Path(baseline))
    except FileNotFoundError:
        raise
    except (OSError, SyntaxError) as error:
        raise InputError(f'config {path} is no config ({last_line(error)}): expected a .py file') from error
    except Exception as error:
        # _base_ = 'mmdet::...'
        if 'is not installed' not in str(error):
            raise
        raise InputError(f'config {path} is based on a library that is missing: {last_line(error)}') from error
    scope = cfg.get('default_scope')
    if scope in OPTIONAL:
        try:
            import_library(scope)
        except ImportError as error:
            raise InputError(f'config {path} needs {scope}: {error}') from error
    return cfg


def read_on_baseline(path: Path, baseline: Path) -> Config:
    """The config of a method with ``baseline`` in the place of its own; see :func:`read_config`."""
    if not baseline.is_file():
        raise InputError(f'--on {baseline} does not exist: expected the config of a baseline')
    model = read_config(str(baseline)).get('model', {}).get('type')
    if model != 'ImageClassifier':
        raise InputError(f'--on {baseline} has model.type={model}: expected a baseline, with a plain ImageClassifier')
    with tempfile.TemporaryDirectory(prefix='mixskd_mm_') as folder:
        copy = None if is_baseline(path) else rebase(path, baseline.absolute(), Path(folder))
        if copy is None:
            raise InputError(
                f'config {path} is not based on a baseline_*.py: expected the config of a method with --on'
            )
        try:
            cfg = Config.fromfile(copy)
        # What the method's lines take from _base_ or change in it.
        except (AttributeError, KeyError, IndexError, TypeError) as error:
            raise InputError(f'config {path} does not fit --on {baseline}: {last_line(error)}') from error
    name = path.with_name(f'{path.stem}-on-{baseline.stem}.py')
    return Config(cfg.to_dict(), cfg_text=cfg.text, filename=name)


def rebase(path: Path, baseline: Path, folder: Path) -> Path | None:
    """Write a copy of a config in which ``baseline`` takes the place of the ``baseline_*.py`` that it is based on.

    Args:
        path (Path): The config.
        baseline (Path): The absolute path of the other baseline.
        folder (Path): Where the copies of ``path`` and of what lies between it and its baseline go.

    Returns:
        Path | None: The copy, or None if ``path`` is not based on a baseline.
    """
    if is_baseline(path):
        return baseline
    text = path.read_text(encoding='utf-8')
    statement = base_statement(text)
    bases = ast.literal_eval(statement.value) if statement else []
    moved, found = [], False
    for base in [bases] if isinstance(bases, str) else bases:
        # mmpretrain::_base_/... is found from everywhere.
        copy = None if '::' in base else rebase((path.parent / base).absolute(), baseline, folder)
        found = found or copy is not None
        moved.append(str(copy or (base if '::' in base else (path.parent / base).absolute())))
    if not found:
        return None
    lines = text.splitlines()
    lines[statement.lineno - 1 : statement.end_lineno] = [f'_base_ = {moved!r}']
    # Numbered, since files of several folders may have the same name.
    target = folder / f'{len(os.listdir(folder))}.py'
    target.write_text('\n'.join(lines) + '\n', encoding='utf-8')
    return target


def is_baseline(path: Path) -> bool:
    """Whether a config has the name of a baseline."""
    return path.name.startswith('baseline_')


def base_statement(text: str) -> ast.Assign | None:
    """The assignment to ``_base_`` in the text of a config, if there is one."""
    for node in ast.parse(text).body:
        if isinstance(node, ast.Assign) and getattr(node.targets[0], 'id', None) == '_base_':
            return node
    return None


class Typed(str):
    """A value as it was typed on the command line: :func:`merge_options` gives it the type that it has in the config."""


def merge_options(cfg: Config, options: Mapping[str, object]) -> None:
    """Apply ``--cfg-options``.

    Raises:
        InputError: if one leads nowhere in ``cfg``, or sets what neither ``cfg`` nor the Runner has.
    """
    check_new_keys(cfg._cfg_dict, options)
    promised = cfg.get('custom_hooks')
    values = {key: parse_value(value, current(cfg, key)) for key, value in options.items()}
    try:
        cfg.merge_from_dict(values)
    except (KeyError, TypeError, IndexError, AssertionError) as error:
        raise InputError(f'--cfg-options {values}: {error.args[0]}: expected a setting of the config') from error
    if promised and not cfg.get('custom_hooks'):
        names = ', '.join(hook['type'] for hook in promised)
        raise InputError(f'custom_hooks={cfg.get("custom_hooks")!r}: expected the hooks of the recipe: {names}')


def current(cfg: Config, key: str):
    """What ``cfg`` has at a dotted key, or None."""
    value = cfg._cfg_dict
    for name in key.split('.'):
        if isinstance(value, list | tuple) and name.isdigit() and int(name) < len(value):
            value = value[int(name)]
        else:
            value = value.get(name) if isinstance(value, dict) else None
    return value


def parse_value(value, before=None):
    """What a :class:`Typed` value means; any other value is what it is.

    Where the config has text it stays as it was typed, but for quotes around it and for ``None`` and lists in brackets.
    Otherwise numbers, True, False, None, lists ``[1,2]``, tuples ``(1,2)`` and ``1,2`` are what they look like; a path
    with a comma in it is no list.
    """
    if not isinstance(value, Typed):
        return value
    text = value.strip()
    if text[:1] in ('"', "'") and text[-1:] == text[:1] and len(text) > 1:
        return text[1:-1]
    if text[:1] + text[-1:] in ('[]', '()'):
        parts = [parse_value(Typed(part)) for part in split_list(text[1:-1])]
        return tuple(parts) if text[0] == '(' else parts
    if text == 'None':
        return None
    if isinstance(before, str):
        return str(value)
    if ',' in text and not any(letter in text for letter in '/\\ '):
        return [parse_value(Typed(part)) for part in split_list(text)]
    for kind in (int, float):
        with contextlib.suppress(ValueError):
            return kind(text)
    return {'true': True, 'false': False}.get(text.lower(), str(value))


def split_list(text: str) -> list[str]:
    """The elements of a list between commas that are in no brackets of their own."""
    parts, depth = [''], 0
    for letter in text:
        depth += (letter in '([') - (letter in ')]')
        if letter == ',' and depth == 0:
            parts.append('')
        else:
            parts[-1] += letter
    # A tuple of one has a comma at its end.
    return [part for i, part in enumerate(parts) if part.strip() or i < len(parts) - 1]


def timeout_of(cfg: Config) -> float | None:
    """Seconds that processes of a run wait for each other, ``env_cfg.dist_cfg.timeout``; None for torch's default."""
    return ((cfg.get('env_cfg') or {}).get('dist_cfg') or {}).get('timeout')


def distribute_on_cpu(cfg: Config) -> None:
    """Make a distributed run work without GPUs: gloo processes, and DDP without device ids."""
    if cfg.launcher != 'pytorch':
        raise InputError(f'--launcher {cfg.launcher} found no GPU: expected GPUs, or --launcher pytorch to run on CPUs')
    # mmengine's own set-up selects a CUDA device whatever the backend.
    if not torch.distributed.is_initialized():
        if 'RANK' not in os.environ:
            raise InputError(
                '--launcher pytorch found no RANK: expected to be started by torchrun, as tools/dist_train.sh does'
            )
        # As mmengine takes it for GPUs.
        timeout = timeout_of(cfg)
        torch.distributed.init_process_group('gloo', timeout=timedelta(seconds=timeout) if timeout else None)
    # Otherwise as the Runner wraps a model.
    unused = cfg.get('find_unused_parameters', False)
    wrapper = dict(type='MMDistributedDataParallel', broadcast_buffers=False, find_unused_parameters=unused)
    cfg.setdefault('model_wrapper_cfg', wrapper)
    cfg.model_wrapper_cfg.device_ids = None
    # SyncBN exists on GPUs only.
    cfg.pop('sync_bn', None)
    unsynchronise(cfg.get('model'))


def unsynchronise(config) -> None:
    """Replace the type SyncBN by BN in (a part of) a model's config, in place."""
    if isinstance(config, dict):
        if config.get('type') == 'SyncBN':
            config['type'] = 'BN'
        config = list(config.values())
    if isinstance(config, list | tuple):
        for part in config:
            unsynchronise(part)
