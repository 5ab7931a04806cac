"""Check a config before anything is built from it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from mmengine.config import Config
from mmengine.registry import FUNCTIONS, OPTIMIZERS

from mixskd_mm.datasets.folders import plain_datasets
from mixskd_mm.errors import InputError

from .arguments import accepted, kind_of
from .culprits import unknown_type
from .keys import check_keys, nearest
from .paths import dotted, walk
from .values import check_values, shown

SECTIONS = ('model', 'train_dataloader', 'val_dataloader', 'test_dataloader', 'train_cfg', 'val_cfg', 'test_cfg')
SECTIONS += ('optim_wrapper', 'default_hooks', 'env_cfg', 'randomness', 'auto_scale_lr', 'visualizer', 'log_processor')
# One dict with a type, or several.
LISTS = ('param_scheduler', 'custom_hooks', 'val_evaluator', 'test_evaluator')
# The Runner takes all of them or none.
TOGETHER = (
    ('train_dataloader', 'train_cfg', 'optim_wrapper'),
    ('val_dataloader', 'val_cfg', 'val_evaluator'),
    ('test_dataloader', 'test_cfg', 'test_evaluator'),
)
# What mmengine's Runner has by itself.
DEFAULT_HOOKS = ('runtime_info', 'timer', 'sampler_seed', 'logger', 'param_scheduler', 'checkpoint')
# Names of files, folders and what they end with.
TEXTS = ('data_root', 'ann_file', 'data_prefix', 'img', 'img_path', 'seg_map_path', 'checkpoint')
TEXTS += ('img_suffix', 'seg_map_suffix')
# What evaluators measure.
METRICS = ('iou_metrics', 'metric', 'items')
# Their type has no default.
PARTS = ('dataset', 'sampler', 'optimizer', 'norm_cfg', 'act_cfg', 'conv_cfg')


def check_settings(cfg: Config) -> list[str]:
    """Raise InputError for the first setting of ``cfg`` that is wrong whatever the data and the machine.

    Returns:
        Notices, a line each: what is no mistake for certain, but breaks what the recipe promises.
    """
    config = cfg._cfg_dict
    notices = list(check_keys(cfg))
    check_sections(config)
    check_values(config)
    for loader in ('train_dataloader', 'val_dataloader'):
        if config.get(loader) is not None:
            check_loader(loader, config[loader])
    check_types(config)
    optimizer = (config.get('optim_wrapper') or {}).get('optimizer') or {}
    if isinstance(optimizer.get('type'), str) and OPTIMIZERS.get(optimizer['type']) is None:
        raise InputError(unknown_type(('optim_wrapper', 'optimizer'), optimizer['type']))
    check_schedule_values(config)
    return [*notices, *missing_parts(config)]


def check_schedule_values(config: Mapping) -> None:
    """Raise InputError if a schedule would end above the learning rate that it starts from."""
    lr = ((config.get('optim_wrapper') or {}).get('optimizer') or {}).get('lr')
    schedulers = config.get('param_scheduler') or []
    for i, scheduler in enumerate(schedulers if isinstance(schedulers, list | tuple) else [schedulers]):
        lowest = scheduler.get('eta_min')
        if isinstance(lr, int | float) and isinstance(lowest, int | float) and lowest > lr:
            raise InputError(f'param_scheduler.{i}.eta_min={lowest}: expected at most optim_wrapper.optimizer.lr={lr}')


def check_sections(config: Mapping) -> None:
    """Raise InputError if a section is no dict, or a list of parts no list of dicts."""
    for section in SECTIONS:
        value = config.get(section)
        if value is not None and not isinstance(value, Mapping):
            raise InputError(f'{section}={shown(value)}: expected a dict of settings')
    for section in ('model', 'default_hooks'):
        if section in config and not config[section]:
            raise InputError(f'{section}={config[section]!r}: expected a dict of settings')
    for section, value in config.items():
        if section in LISTS and value is not None:
            check_dicts(section, dict(enumerate(value)) if isinstance(value, list | tuple) else {None: value})
    hooks = config.get('default_hooks') or {}
    check_dicts('default_hooks', hooks)
    for hook in hooks:
        # Any name is a hook of its own, beside the Runner's; so nearly one of theirs is none.
        real = nearest(hook, DEFAULT_HOOKS, cutoff=0.88)
        if hook not in DEFAULT_HOOKS and real:
            raise InputError(
                f'default_hooks.{hook}={shown(hooks[hook])}: no such setting: expected default_hooks.{real}'
            )
    for name in ('default_scope', 'log_level', 'work_dir', 'load_from', 'experiment_name'):
        if config.get(name) is not None and not isinstance(config[name], str):
            raise InputError(f'{name}={shown(config[name])}: expected text')
    resume = config.get('resume')
    if resume is not None and not isinstance(resume, bool):
        raise InputError(f'resume={resume!r}: expected True or False; load_from names the checkpoint')


def check_complete(cfg: Config) -> None:
    """Raise InputError if a loop of ``cfg`` lacks its data or its settings, as it may for tools that only read data."""
    config = cfg._cfg_dict
    for group in TOGETHER:
        given = [name for name in group if config.get(name) not in (None, [], {}, ())]
        if given and len(given) < len(group):
            # {} is a loop with its defaults.
            absent = [
                name for name in group if name not in given and not (name.endswith('_cfg') and config.get(name) == {})
            ]
            for name in absent:
                raise InputError(f'{name}={config.get(name)!r}: expected settings, since {given[0]} is given')


def check_dicts(section: str, parts: Mapping) -> None:
    """Raise InputError if one of the parts of a section, by key, is neither a dict with a type nor None."""
    for key, part in parts.items():
        name = section if key is None else f'{section}.{key}'
        if part is not None and not isinstance(part, Mapping):
            raise InputError(f'{name}={shown(part)}: expected a dict with a type')
        if isinstance(part, Mapping) and 'type' not in part and (key is not None or section != 'param_scheduler'):
            raise InputError(f'{name}.type is missing: expected the name of a registered class')


def check_loader(name: str, loader: Mapping) -> None:
    """Raise InputError if a data loader lacks a part, or has one that cannot work with the rest."""
    for part in ('dataset', 'sampler'):
        if not isinstance(loader.get(part), Mapping):
            raise InputError(f'{name}.{part}={shown(loader.get(part))}: expected a dict with a type')
    if 'batch_size' not in loader and loader.get('batch_sampler') is None:
        raise InputError(f'{name}.batch_size is missing: expected a whole number >= 1')
    for part in ('collate_fn', 'worker_init_fn'):
        function = loader.get(part)
        if function is not None and not (isinstance(function, Mapping) and 'type' in function):
            raise InputError(f'{name}.{part}={shown(function)}: expected a dict with a type')
        if function is not None and isinstance(function['type'], str) and FUNCTIONS.get(function['type']) is None:
            raise InputError(unknown_type((name, part), function['type']))
    for dataset in plain_datasets(loader['dataset']):
        takes = accepted(dataset.get('type') or ())
        if 'pipeline' in takes and 'pipeline' not in dataset:
            raise InputError(f'{name}.dataset.pipeline is missing: expected a list of transforms')
    for option in ('persistent_workers', 'prefetch_factor'):
        if loader.get(option) and not loader.get('num_workers'):
            raise InputError(f'{name}.{option}={loader[option]!r}: expected {name}.num_workers > 0 with it')


def check_types(config: Mapping) -> None:
    """Raise InputError if a pipeline is empty, or a part that is built has no type."""
    for path, value in walk(config):
        if path[-1] == 'type' and not (isinstance(value, str) and value) and not callable(value):
            raise InputError(f'{dotted(path)}={value!r}: expected the name of a registered class')
        if isinstance(value, list | tuple) and {'number', 'dict'} <= {kind_of(element) for element in value}:
            raise InputError(f'{dotted(path)}={shown(value)}: expected elements of one kind')
        if str(path[-1]).endswith('_cfg') and isinstance(value, str | int | float) and not isinstance(value, bool):
            raise InputError(f'{dotted(path)}={shown(value)}: expected a dict of settings')
        if path[-1] in METRICS and value in ([], (), ''):
            raise InputError(f'{dotted(path)}={value!r}: expected at least one')
        if path[-1] in TEXTS and value is not None and not isinstance(value, str | Mapping | list | tuple):
            raise InputError(f'{dotted(path)}={value!r}: expected text')
        if path[-1] == 'pipeline':
            if not (isinstance(value, list | tuple) and value):
                raise InputError(f'{dotted(path)}={shown(value)}: expected a list of transforms')
            check_dicts(dotted(path), dict(enumerate(value)))
        if path[-2:] == ('metainfo', 'classes'):
            names = value if isinstance(value, list | tuple) else [value]
            if not names or not all(isinstance(name, str) and name for name in names):
                raise InputError(f'{dotted(path)}={shown(value)}: expected the names of the classes, which are text')
        if path[-1] == 'clip_grad' and value is not None and not isinstance(value, Mapping):
            raise InputError(f'{dotted(path)}={shown(value)}: expected a dict such as dict(max_norm=5.0), or None')
        # Without a type mmengine makes its own of it, which takes no _scope_.
        scoped = path == ('log_processor',) and isinstance(value, Mapping) and '_scope_' in value
        if (path[-1] in PARTS or scoped) and isinstance(value, Mapping) and 'type' not in value and is_built(path):
            raise InputError(f'{dotted(path)}.type is missing: expected the name of a registered class')


def is_built(path: tuple) -> bool:
    """Whether something is made of what stands at a path; not of variables of the config."""
    return path[0] in SECTIONS


def missing_parts(config: Mapping) -> Iterator[str]:
    """A notice for each part that the recipes have and this config has switched off."""
    for hook, value in (config.get('default_hooks') or {}).items():
        if value is None:
            yield f'default_hooks.{hook}=None: what this hook does is switched off'
    if (config.get('visualizer') or {}).get('vis_backends', True) in ([], (), None):
        yield f'visualizer.vis_backends={config["visualizer"]["vis_backends"]!r}: nothing writes what is logged'
    if not config.get('param_scheduler') and config.get('train_cfg'):
        yield f'param_scheduler={config.get("param_scheduler")!r}: the learning rate stays as it is'
