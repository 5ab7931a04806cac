"""Complete the config of a recipe for data of one's own from the data themselves."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator
from pathlib import Path

import cv2
import numpy as np
from mmengine.config import Config

from mixskd_mm.datasets.class_names import coco_categories
from mixskd_mm.errors import InputError
from mixskd_mm.resuming.schedule import scale_schedule

from .parts import class_folders, images_below, split

# What folders of a split are called.
TRAIN, VAL = ('train', 'training', 'train2017'), ('val', 'valid', 'validation', 'val2017', 'test')
IGNORED = 255


def complete(cfg: Config) -> None:
    """Fill in what a recipe with ``own_data`` leaves to the data in its ``data_root``, in place. Others stay as they are.

    That is the folders, the names and the number of the classes, and the length of the training, unless the config has it:
    the paper's number of epochs for ``own_data.images`` images and more; for less, as many more epochs, at most five times
    the paper's. Warm-up and steps of the schedule are stretched with it.

    Raises:
        InputError: if there is no ``data_root``, or the data are not as docs/own_data.md describes them.
    """
    recipe = cfg.get('own_data')
    if not recipe:
        return
    root = cfg.get('data_root')
    if not isinstance(root, str) or not root:
        raise InputError(
            f'config {cfg.filename} has no data_root: expected --cfg-options data_root=FOLDER, laid out as in '
            'docs/own_data.md'
        )
    if not os.path.isdir(root):
        raise InputError(f'data_root={root}: no such folder: expected one, laid out as in docs/own_data.md')
    classes, images = KINDS[recipe.kind](cfg, Path(root))
    set_classes(cfg, len(classes))
    fit_length(cfg, images)


def set_classes(cfg: Config, number: int) -> None:
    """Give heads and data preprocessor the number of classes, and evaluators a k that it allows."""
    for head in heads(cfg.model):
        head['num_classes'] = number
    if 'num_classes' in cfg.get('data_preprocessor', {}):
        cfg.data_preprocessor.num_classes = number
    topk = (1, 5) if number > 5 else (1,)
    for part in (cfg.model.get('head') or {}, cfg.val_evaluator, cfg.test_evaluator):
        if 'topk' in part:
            part['topk'] = topk


def heads(config) -> Iterator[dict]:
    """The parts of a model's config that have a number of classes."""
    if isinstance(config, dict):
        if 'num_classes' in config:
            yield config
        config = list(config.values())
    for part in config if isinstance(config, list | tuple) else ():
        yield from heads(part)


def fit_length(cfg: Config, images: int) -> None:
    """Set the length of the training, if the config has none, and the schedule to it. In place.

    Args:
        cfg (Config): ``own_data.length`` is that of its schedule, in epochs or iterations.
        images (int): How many there are to train on.
    """
    recipe = cfg.own_data
    key = 'max_epochs' if 'max_epochs' in cfg.train_cfg else 'max_iters'
    if cfg.train_cfg[key] is None:
        # Epochs are fewer iterations for fewer images; iterations are more epochs.
        share = recipe.images / images
        share = min(max(share, 1), 5) if key == 'max_epochs' else max(min(1 / share, 1), 0.1)
        cfg.train_cfg[key] = round(recipe.length * share)
    length = cfg.train_cfg[key]
    if length != recipe.length:
        counted = [one for one in cfg.param_scheduler if one.get('by_epoch', True) == (key == 'max_epochs')]
        scale_schedule(counted, length / recipe.length, None)
        recipe.length = length
    if cfg.train_cfg.val_interval is None:
        cfg.train_cfg.val_interval = max(1, length // recipe.validations)


def set_dataset(cfg: Config, name: str, **settings) -> None:
    """Change the data set of the part ``name``, ``'train'`` or ``'val'``; that of tests is that of validations."""
    for loader in ('train_dataloader',) if name == 'train' else ('val_dataloader', 'test_dataloader'):
        cfg[loader].dataset.update(settings)


def folder_of(root: Path, names: tuple[str, ...]) -> str | None:
    """The first of ``names`` that is a folder in ``root``, or None."""
    return next((name for name in names if (root / name).is_dir()), None)


def parts_of(cfg: Config, root: Path) -> tuple[str | None, str | None]:
    """The folders of training and validation in ``root``, or None twice: one folder, to be split.

    Raises:
        InputError: if only one of the two is there, or ``val_fraction`` is no share.
    """
    found = folder_of(root, TRAIN), folder_of(root, VAL)
    if (found[0] is None) != (found[1] is None):
        there, missing = (found[0], 'val') if found[1] is None else (found[1], 'train')
        raise InputError(
            f'data_root: {root} has a folder {there} and no {missing}: expected both, or neither to split it'
        )
    fraction = cfg.own_data.val_fraction
    if not isinstance(fraction, int | float) or not 0 < fraction < 1:
        raise InputError(f'own_data.val_fraction={fraction!r}: expected a number between 0 and 1')
    return found


def complete_folders(cfg: Config, root: Path) -> tuple[list[str], int]:
    """Names of the classes and number of training images of folders of classes, ``train/`` and ``val/`` or one to split."""
    train, val = parts_of(cfg, root)
    place = root / (train or '')
    classes = class_folders(place)
    if len(classes) < 2:
        raise InputError(f'data_root={root} has {len(classes)} classes: expected two or more')
    for part, folder in (('train', train), ('val', val)):
        settings = dict(data_root=str(root), data_prefix=folder or '', classes=classes)
        set_dataset(cfg, part, **settings, **part_settings(cfg, part, folder))
    number = 0
    for name in classes:
        files = images_below(place / name, place)
        if len(files) < (1 if train else 2):
            expected = 'an image' if train else 'two images, one of them to validate'
            raise InputError(
                f'{place / name} has {len(files)} images: expected at least {expected}, since it is a class'
            )
        number += count_training(cfg, files)
    # A last batch of few images has statistics of few, and of one none.
    processes = int(os.environ.get('WORLD_SIZE', 1))
    cfg.train_dataloader.drop_last = -(-number // processes) > cfg.train_dataloader.batch_size
    return classes, number


def part_settings(cfg: Config, part: str, folder: str | None) -> dict:
    """What a data set is told of its part: nothing if that has a folder of its own."""
    return dict(part=None) if folder else dict(part=part, val_fraction=cfg.own_data.val_fraction)


def count_training(cfg: Config, files: list[str]) -> int:
    """How many of the files of the training set, or of the folder that is split, are trained on."""
    dataset = cfg.train_dataloader.dataset
    return len(split(files, dataset.part, cfg.own_data.val_fraction))


def complete_boxes(cfg: Config, root: Path) -> tuple[list[str], int]:
    """Names of the classes and number of training images of COCO annotations."""
    names = None
    for part, folders in (('train', TRAIN), ('val', VAL)):
        annotations, images = boxes_of(root, folders)
        found = [str(category.get('name')) for category in coco_categories(str(root / annotations))]
        if names is not None and found != names:
            raise InputError(
                f'{root / annotations} has categories {found[:5]}..., other than those of training: {names[:5]}...'
            )
        names = found
        metainfo = dict(classes=tuple(names))
        set_dataset(
            cfg, part, data_root=str(root), ann_file=annotations, data_prefix=dict(img=images), metainfo=metainfo
        )
        if part == 'train':
            with open(root / annotations, encoding='utf-8') as file:
                number = len(json.load(file).get('images', ()))
        else:
            cfg.val_evaluator.ann_file = cfg.test_evaluator.ann_file = str(root / annotations)
    return names, number


def boxes_of(root: Path, folders: tuple[str, ...]) -> tuple[str, str]:
    """Annotation file and folder of images of one part, relative to ``root``."""
    places = [f'annotations/{pattern}{name}.json' for name in folders for pattern in ('', 'instances_')]
    places += [f'{name}/_annotations.coco.json' for name in folders]
    annotations = next((place for place in places if (root / place).is_file()), None)
    images = folder_of(root, tuple(f'{prefix}{name}' for name in folders for prefix in ('', 'images/')))
    if annotations is None or images is None:
        raise InputError(
            f'data_root={root} has no {"annotations" if annotations is None else "images"} for {folders[0]}: expected '
            f'annotations/{folders[0]}.json and {folders[0]}/'
        )
    return annotations, f'{images}/'


def complete_masks(cfg: Config, root: Path) -> tuple[list[str], int]:
    """Names of the classes and number of training images of ``images/`` and ``masks/``."""
    images, masks = root / 'images', root / 'masks'
    for folder in (images, masks):
        if not folder.is_dir():
            raise InputError(f'data_root={root} has no folder {folder.name}: expected images/ and masks/')
    train, val = parts_of(cfg, images)
    names = mask_classes(root)
    for part, folder in (('train', train), ('val', val)):
        prefix = dict(img_path=f'images/{folder or ""}', seg_map_path=f'masks/{folder or ""}')
        settings = dict(data_root=str(root), data_prefix=prefix, metainfo=dict(classes=tuple(names)))
        set_dataset(cfg, part, **settings, **part_settings(cfg, part, folder))
    place = images / (train or '')
    number = count_training(cfg, images_below(place, place))
    if not number:
        raise InputError(f'{images / (train or "")} has no images: expected some')
    return names, number


def mask_classes(root: Path) -> list[str]:
    """Names of the classes of masks: the lines of ``classes.txt``, or numbers up to the largest in the masks."""
    file = root / 'classes.txt'
    if file.is_file():
        return [line.strip() for line in file.read_text(encoding='utf-8').splitlines() if line.strip()]
    largest = -1
    for name in images_below(root / 'masks', root, ('.png',)):
        path = root / name
        mask = cv2.imread(str(path), cv2.IMREAD_UNCHANGED)
        if mask is None or mask.ndim != 2:
            raise InputError(f'{path}: expected a mask of one channel, whose pixels are the numbers of classes')
        labels = mask[mask != IGNORED]
        largest = max(largest, *np.unique(labels).tolist(), -1)
    return [f'class {label}' for label in range(largest + 1)]


# How the data are laid out, by own_data.kind.
KINDS: dict[str, Callable[[Config, Path], tuple[list[str], int]]] = {
    'folders': complete_folders,
    'boxes': complete_boxes,
    'masks': complete_masks,
}
