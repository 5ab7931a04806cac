"""Check the folders and files that a config names, before anything is built."""

from __future__ import annotations

import os
from collections.abc import Iterator

from mixskd_mm.errors import InputError

EXPECTED = 'expected the data that the config describes, as docs/datasets.md has it'

# What a class reads below its data_root without its config naming it, by split; folders end with a slash.
LAYOUTS = {
    'CIFAR100': dict.fromkeys(('train', 'test'), ('cifar-100-python/train', 'cifar-100-python/test')),
    'CUB': dict.fromkeys(
        ('train', 'test'), ('images/', 'images.txt', 'image_class_labels.txt', 'train_test_split.txt')
    ),
    'StanfordDogs': {split: ('Images/', f'{split}_list.mat') for split in ('train', 'test')},
    'MITIndoor67': {split: ('Images/', f'{split.capitalize()}Images.txt') for split in ('train', 'test')},
    'StanfordCars': {
        'train': ('cars_train/', 'devkit/cars_train_annos.mat'),
        'test': ('cars_test/', 'devkit/cars_test_annos_withlabels.mat'),
    },
    'FGVCAircraft': {
        split: ('data/images/', f'data/images_variant_{split}.txt') for split in ('trainval', 'train', 'val', 'test')
    },
    'ImageNet': {split: (f'{split}/',) for split in ('train', 'val', 'test')},
}
# The other way to unpack Stanford Cars, known by its list.
CARS_IN_ONE = ('car_ims/', 'cars_annos.mat')


def check_data_folders(cfg: dict, loaders: tuple[str, ...]) -> None:
    """Raise InputError if a data set of ``cfg`` names a folder or annotation file that is missing or empty.

    Some data sets would report it only in the middle of the first iteration, and an empty one under an endless sampler
    never. What lies in a remote store is not checked, nor what mmpretrain would download.

    Args:
        cfg (dict): The config.
        loaders (tuple[str, ...]): Which data loaders to check, e.g. ``('train_dataloader', )``.
    """
    for loader in loaders:
        if cfg.get(loader):
            for dataset in plain_datasets(cfg[loader]['dataset']):
                check_dataset(dataset, f'{loader}.dataset ({dataset.get("type")})')


# The libraries read these so that they can run any code; mmdet unpickles .p (RefCOCO), .np and .npy (Open Images).
EXECUTABLE = ('.pkl', '.pickle', '.p', '.yaml', '.yml', '.np', '.npy')
LOADERS = ('train_dataloader', 'val_dataloader', 'test_dataloader')


def check_annotation_formats(cfg: dict) -> None:
    """Raise InputError if a data set of ``cfg`` would unpickle a file (or read YAML, which can name any function).

    A config that trusts such files names them: ``trusted_annotations = ['data/train.pkl']``.
    """
    trusted = cfg.get('trusted_annotations') or ()
    trusted = [trusted] if isinstance(trusted, str) else trusted
    for loader in LOADERS:
        dataset = (cfg.get(loader) or {}).get('dataset') or {}
        for path, value in strings(dataset, f'{loader}.dataset'):
            if os.path.splitext(value)[1].lower() in EXECUTABLE and value not in trusted:
                raise InputError(
                    f'{path}={value} can run code when it is read: expected JSON or text, or '
                    f'trusted_annotations=[{value!r}] in the config'
                )


def strings(value, path: str) -> Iterator[tuple[str, str]]:
    """The strings in a config, each with the path to it."""
    if isinstance(value, str):
        yield path, value
    elif isinstance(value, dict | list | tuple):
        for name, part in value.items() if isinstance(value, dict) else enumerate(value):
            yield from strings(part, f'{path}.{name}')


def plain_datasets(dataset: dict) -> Iterator[dict]:
    """The data sets inside wrappers such as ConcatDataset and RepeatDataset, or the one itself."""
    inner = dataset.get('datasets') or ([dataset['dataset']] if 'dataset' in dataset else None)
    if inner is None:
        yield dataset
    else:
        for one in inner:
            yield from plain_datasets(one)


def check_dataset(dataset: dict, where: str) -> None:
    """Raise InputError if one data set's config does not lead to data: its folders, its annotation file, its layout."""
    root = dataset.get('data_root') or ''
    prefix = dataset.get('data_prefix') or ''
    prefixes = prefix.items() if isinstance(prefix, dict) else [('', prefix)]
    for name, folder in prefixes:
        if folder:
            key = f'data_prefix.{name}' if name else 'data_prefix'
            check_folder(os.path.join(root, folder), f'{where}: {key}={folder}')
    annotations = os.path.join(root, dataset.get('ann_file') or '')
    if dataset.get('ann_file') and '://' not in annotations and not os.path.isfile(annotations):
        raise InputError(
            f'{where}: ann_file={dataset["ann_file"]}: annotation file {annotations} does not exist: {EXPECTED}'
        )
    name = type_name(dataset)
    if name in LAYOUTS and not prefix and not (name == 'CIFAR100' and dataset.get('download', True)):
        check_layout(name, root, dataset.get('split') or next(iter(LAYOUTS[name])), where)


def type_name(dataset: dict) -> str:
    """The name of the class in a data set's config, without a scope such as ``mmpretrain.``."""
    kind = dataset.get('type')
    return kind.rpartition('.')[2] if isinstance(kind, str) else getattr(kind, '__name__', '')


def check_layout(name: str, root: str, split: str, where: str) -> None:
    """Raise InputError if ``root`` lacks something that :data:`LAYOUTS` has for the split of a class.

    Args:
        name (str): The class, a key of :data:`LAYOUTS`.
        root (str): Its ``data_root``.
        split (str): Its ``split``.
        where (str): What the message begins with.
    """
    if split not in LAYOUTS[name]:
        raise InputError(f'{where}: split={split!r}: expected one of {", ".join(LAYOUTS[name])}')
    if '://' in root:
        return
    check_folder(root, where)
    entries = LAYOUTS[name][split]
    if name == 'StanfordCars' and os.path.isfile(os.path.join(root, 'cars_annos.mat')):
        entries = CARS_IN_ONE
    missing = [entry for entry in entries if not os.path.exists(os.path.join(root, entry))]
    if missing:
        raise InputError(f'{where}: {root} has no {" and no ".join(missing)}: {EXPECTED}')
    for entry in entries:
        if entry.endswith('/'):
            check_folder(os.path.join(root, entry), where)


def check_folder(path: str, where: str) -> None:
    """Raise InputError if ``path`` is no folder or an empty one, unless it lies in a remote store."""
    if '://' in path:
        return
    if not os.path.isdir(path):
        raise InputError(f'{where}: folder {path} does not exist: {EXPECTED}')
    if not any(os.scandir(path)):
        raise InputError(f'{where}: folder {path} is empty: {EXPECTED}')
