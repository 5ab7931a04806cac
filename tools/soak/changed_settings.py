"""Changed settings of a classification, a detection and a segmentation recipe, drawn from a seed.

``changes(seed, count)`` walks each recipe's config and changes single leaves: most changes are wrong, whatever the data;
some are harmless by design.
"""

from __future__ import annotations

import copy
import random
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from mmengine.config import Config, ConfigDict

ROOT = Path(__file__).resolve().parents[2]
RECIPES = {
    'classification': 'configs/quickstart/mixskd_r18_digits.py',
    'detection': 'configs/quickstart/cascade-rcnn_r18-scratch_scenes.py',
    'segmentation': 'configs/quickstart/deeplabv3_r18-scratch_scenes.py',
}
REMOVED = object()
# Read by nothing but other lines of the config.
VARIABLES = {'custom_imports', 'vis_backends', 'dataset', 'bbox_heads', 'rcnn_train', 'class_weight', 'norm_cfg'}
VARIABLES |= {'dataset_type', 'data_root', 'auto_scale_lr', 'backend_args', 'iters_per_epoch', 'downstream_hooks'}
# Read in tests only, or told by another key.
UNREAD = {'test_dataloader', 'test_evaluator', 'test_cfg', 'work_dir', 'load_from', 'resume', 'log_level', 'launcher'}
# Free text and colours; what a transform tells in its output; values that any number fits.
FREE = {'palette', 'meta_keys', 'name', 'experiment_name', 'seed', 'target_means', 'pad_val', 'seg_pad_val', 'mean'}
# Counts and sizes, for which 0 is as wrong as -1.
POSITIVE = {'batch_size', 'max_epochs', 'max_iters', 'val_interval', 'num_classes', 'in_channels', 'out_channels'}
POSITIVE |= {'base_channels', 'stem_channels', 'channels', 'feat_channels', 'fc_out_channels', 'roi_feat_size'}
POSITIVE |= {'num_outs', 'alpha', 'temperature', 'max_norm', 'lr', 'crop_size', 'T_max', 'interval', 'num_stages'}
POSITIVE |= {'std', 'scale', 'scales', 'strides', 'featmap_strides', 'ratios', 'topk', 'target_stds', 'beta', 'num'}
POSITIVE |= {'size', 'dilations'}
# For which a negative number is wrong.
NOT_NEGATIVE = POSITIVE | {'num_workers', 'momentum', 'weight_decay', 'loss_weight', 'dropout_ratio', 'begin', 'end'}
NOT_NEGATIVE |= {'padding', 'gamma', 'start_factor', 'eta_min', 'power', 'pos_iou_thr', 'neg_iou_thr', 'iou_threshold'}
NOT_NEGATIVE |= {
    'pos_fraction',
    'class_weight',
    'nms_pre',
    'max_per_img',
    'milestones',
    'label_smooth_val',
    'score_thr',
}


@dataclass(frozen=True)
class Change:
    """One changed setting.

    Args:
        recipe (str): A key of :data:`RECIPES`.
        path (tuple): Keys and indices that lead to it.
        value: What it becomes; :data:`REMOVED` if it goes.
        kind (str): What kind of change it is.
        wrong (bool): Whether it must not pass unsaid.
        option (str, optional): The change as an argument of ``--cfg-options``. Defaults to None: it stands in the file.
        renamed (str, optional): The misspelt key, which keeps its value. Defaults to None.
    """

    recipe: str
    path: tuple
    value: object = field(compare=False)
    kind: str
    wrong: bool = True
    option: str | None = None
    renamed: str | None = None

    @property
    def name(self) -> str:
        """The setting as a config's reader writes it: ``model.backbone.depth``."""
        return dotted((*self.path[:-1], self.renamed) if self.renamed else self.path)

    def __str__(self) -> str:
        if self.option is not None:
            return f'{self.recipe}: --cfg-options {self.option}'
        if self.value is REMOVED:
            return f'{self.recipe}: {self.name} removed'
        return f'{self.recipe}: {self.name} misspelt' if self.renamed else f'{self.recipe}: {self.name}={self.value!r}'


def dotted(path: tuple) -> str:
    return '.'.join(map(str, path))


def read_recipe(recipe: str, config: Path | None = None) -> dict:
    """The config of a recipe with the names of its variables gone, as plain dicts, lists and values.

    Args:
        recipe (str): A key of :data:`RECIPES`.
        config (Path, optional): Another config of the same parts. Defaults to None: the recipe's.
    """
    cfg = Config.fromfile(config or ROOT / RECIPES[recipe])
    return {name: plain(value) for name, value in cfg.items() if name not in VARIABLES - {'auto_scale_lr'}}


def plain(value):
    if isinstance(value, dict | ConfigDict):
        return {key: plain(part) for key, part in value.items()}
    return type(value)(map(plain, value)) if isinstance(value, list | tuple) else value


def walk(config, path: tuple = ()) -> Iterator[tuple[tuple, object]]:
    """All paths of a config with their values, containers too."""
    items = config.items() if isinstance(config, dict) else enumerate(config)
    for key, value in items:
        yield (*path, key), value
        if isinstance(value, dict) or (isinstance(value, list | tuple) and value):
            yield from walk(value, (*path, key))


def apply(config: dict, change: Change) -> dict:
    """A copy of ``config`` with a change that stands in the file."""
    config = copy.deepcopy(config)
    parts = [config]
    for key in change.path[:-1]:
        parts.append(list(parts[-1][key]) if isinstance(parts[-1][key], tuple) else parts[-1][key])
    last, key = parts[-1], change.path[-1]
    if change.value is REMOVED:
        del last[key]
    elif change.renamed:
        last[change.renamed] = last.pop(key)
    else:
        last[key] = change.value
    # Tuples became lists on the way.
    for outer, part, key in reversed(list(zip(parts, parts[1:], change.path, strict=False))):
        outer[key] = part
    return config


def source(value) -> str:
    """``value`` as Python has it in a config file."""
    if isinstance(value, dict):
        return '{' + ', '.join(f'{key!r}: {source(part)}' for key, part in value.items()) + '}'
    if isinstance(value, tuple):
        return '(' + ''.join(f'{source(part)}, ' for part in value) + ')'
    if isinstance(value, list):
        return '[' + ', '.join(map(source, value)) + ']'
    return f"float('{value}')" if value in (float('inf'), float('-inf')) or value != value else repr(value)


def config_text(config: dict) -> str:
    return ''.join(f'{key} = {source(value)}\n' for key, value in config.items())


def misspell(name: str, rng: random.Random) -> str:
    """A key with two neighbouring letters exchanged, one lost or one doubled."""
    i = rng.randrange(len(name) - 1)
    ways = [name[:i] + name[i + 1] + name[i] + name[i + 2 :], name[:i] + name[i + 1 :], name[: i + 1] + name[i:]]
    return rng.choice([way for way in ways if way not in (name, '')])


def wrong_values(key: str, value, rng: random.Random) -> Iterator[tuple[str, object]]:
    """Values that are wrong for a key, each with the kind of change that it is."""
    if isinstance(value, bool):
        yield from (('type', 'perhaps'), ('range', float('nan')))
    elif isinstance(value, int | float):
        yield from (('type', 'abc'), ('type', dict(a=1)))
        yield from (('range', float('nan')), ('range', float('inf')), ('range', 1e30))
        if key in NOT_NEGATIVE:
            yield 'range', -1
        if key in POSITIVE:
            yield 'range', 0
    elif isinstance(value, str):
        yield 'type', 7.5
        if key == 'type':
            yield from (('unknown type', value + 'x'), ('unknown type', 'NoSuch'), ('none', None))
        if key in ('data_root', 'ann_file', 'img', 'img_path', 'seg_map_path'):
            yield from (('path', '/no/such'), ('path', '/no,such/a b'))
    elif isinstance(value, dict) and value:
        yield from (('type', 7), ('type', 'abc'))
    elif isinstance(value, list | tuple) and value:
        yield from (('emptied', type(value)()), ('type', 'abc'), ('type', dict(a=1)))
    if key in ('num_classes', 'in_channels') and isinstance(value, int):
        yield 'shape', value + 3


def key_of(path: tuple) -> str:
    """The last key of a path that is no index."""
    return next(part for part in reversed(path) if isinstance(part, str))


# What a recipe promises by having it.
PROMISES = {
    'default_hooks': None,
    'custom_hooks': [],
    'sampler': None,
    'val_evaluator': [],
    'val_dataloader': None,
    'val_cfg': None,
    'train_dataloader': None,
    'param_scheduler': [],
    'optim_wrapper': None,
    'train_cfg': None,
}
LOADED = (('train_dataloader', 'sampler'), ('val_dataloader', 'sampler'))
# As people write them after --cfg-options.
MISSPELT_OPTIONS = [
    'modle.temperature=3',
    'optimwrapper.optimizer.lr=0.1',
    'optim_wrapper.optimzer.lr=0.1',
    'train_dataloder.batch_size=4',
    'train_dataloader.batchsize=4',
    'train_dataloader.dataset.data_rot=/tmp',
    'model.backbone.dept=18',
    'train_cfg.max_epoch=3',
    'default_hooks.chekpoint.interval=2',
    'default_hooks.checkpoint.intervall=2',
    'randomness.sed=3',
    'env_cfg.cudnn_benchmrk=True',
    'resume=nosuch.pth',
    'load_from=nosuch.pth',
    'val_evaluator.topkk=1',
    'persistent_workers=True',
    'train_dataloader.persistent_workers=True',
    'optim_wrapper.clip_grad.max_nrm=3',
    'train_dataloader.dataset.data_root=/a,b/c',
    'train_dataloader.dataset.data_root=/sp ace',
    'optim_wrapper.accumulative_counts=0',
    'optim_wrapper.accumulative_counts=1.5',
    'train_dataloader.dataset.indices=0',
    'auto_scale_lr.base_batch_size=0',
    'visualizer.vis_backends.0.type=TensorboardVisBacknd',
    'nosuch=3',
]
# By design; the run ends as it does without.
HARMLESS_OPTIONS = [
    'randomness.seed=3',
    'randomness.deterministic=False',
    'train_dataloader.num_workers=1',
    'train_dataloader.pin_memory=False',
    'optim_wrapper.optimizer.lr=0.003',
    'optim_wrapper.optimizer.nesterov=True',
    'optim_wrapper.optimizer.weight_decay=0',
    'optim_wrapper.accumulative_counts=2',
    'optim_wrapper.clip_grad=None',
    'optim_wrapper.paramwise_cfg.norm_decay_mult=0',
    'default_hooks.checkpoint.interval=-1',
    'default_hooks.checkpoint.max_keep_ckpts=1',
    'default_hooks.checkpoint.save_best=auto',
    'default_hooks.logger.interval=1',
    'env_cfg.cudnn_benchmark=True',
    'log_level=WARNING',
    'load_from=None',
    'resume=False',
    'find_unused_parameters=True',
    'experiment_name=mine',
    'train_dataloader.dataset.indices=4',
    'model.backbone.frozen_stages=1',
    'model.backbone.norm_eval=True',
    'model.backbone.init_cfg=None',
    'custom_hooks=[]',
]


# Without which a part cannot be built, but for those whose library has a default.
REQUIRED = ('type', 'num_classes', 'dataset', 'ann_file', 'optimizer', 'pipeline', 'model')
DEFAULTED = (
    ('data_preprocessor', 'num_classes'),
    ('data_preprocessor', 'type'),
    ('nms', 'type'),
    ('train_cfg', 'type'),
    ('val_cfg', 'type'),
    ('optim_wrapper', 'type'),
)


def recipe_changes(recipe: str, rng: random.Random, config: Path | None = None) -> dict[str, list[Change]]:
    """All changes of one recipe, or of a ``config`` of the same parts, by kind, shuffled."""
    by_kind: dict[str, list[Change]] = {}

    def add(kind: str, path: tuple, value, **more) -> None:
        by_kind.setdefault(kind, []).append(Change(recipe, path, value, kind, **more))

    for path, value in walk(read_recipe(recipe, config)):
        key = key_of(path)
        if path[0] in UNREAD or any(part in FREE for part in path):
            continue
        named = path[:-1] != ('default_hooks',) or key in ('timer', 'logger', 'checkpoint', 'param_scheduler')
        if isinstance(path[-1], str) and len(key) > 2 and key != 'type' and named:
            add('misspelt', path, value, renamed=misspell(key, rng))
        for kind, wrong in wrong_values(key, value, rng):
            add(kind, path, wrong)
        promised = len(path) == 1 or path[-2:] in LOADED
        if key in PROMISES and promised and PROMISES[key] != value:
            add('promise', path, PROMISES[key])
        if path[-1] in REQUIRED and path[-2:] not in DEFAULTED:
            add('removed', path, REMOVED)
    for option in MISSPELT_OPTIONS:
        add('option', tuple(option.split('=')[0].split('.')), option.partition('=')[2], option=option)
    for option in HARMLESS_OPTIONS:
        path = tuple(option.split('=')[0].split('.'))
        add('harmless', path, option.partition('=')[2], option=option, wrong=False)
    for changes in by_kind.values():
        rng.shuffle(changes)
    return by_kind


def changes(seed: int = 0, count: int = 500, configs: dict[str, Path] | None = None) -> list[Change]:
    """``count`` different changes, as many of each kind and recipe as there are, in a fixed order for each seed.

    Args:
        seed (int): Chooses them. Defaults to 0.
        count (int): How many, if there are as many. Defaults to 500.
        configs (dict[str, Path], optional): By recipe, configs of the same parts to change. Defaults to None: the recipes'.
    """
    rng, configs = random.Random(seed), configs or {}
    piles = [pile for recipe in RECIPES for pile in recipe_changes(recipe, rng, configs.get(recipe)).values()]
    drawn: list[Change] = []
    seen = set()
    while len(drawn) < count and any(piles):
        for pile in piles:
            if pile and len(drawn) < count:
                change = pile.pop()
                if str(change) not in seen:
                    seen.add(str(change))
                    drawn.append(change)
    return drawn
