"""Check the folders and files that a config names, before anything is built."""

from __future__ import annotations

import os
from collections.abc import Iterator

from mixskd_mm.errors import InputError


def check_data_folders(cfg: dict, loaders: tuple[str, ...]) -> None:
    """Raise InputError if a data set of ``cfg`` names a folder or annotation file that is missing or empty.

    Some data sets would report it only in the middle of the first iteration, and an empty one under an endless sampler
    never. What lies in a remote store is not checked.

    Args:
        cfg (dict): The config.
        loaders (tuple[str, ...]): Which data loaders to check, e.g. ``('train_dataloader', )``.
    """
    for loader in loaders:
        if cfg.get(loader):
            for dataset in plain_datasets(cfg[loader]['dataset']):
                check_dataset(dataset, f'{loader}.dataset ({dataset.get("type")})')


def plain_datasets(dataset: dict) -> Iterator[dict]:
    """The data sets inside wrappers such as ConcatDataset and RepeatDataset, or the one itself."""
    inner = dataset.get('datasets') or ([dataset['dataset']] if 'dataset' in dataset else None)
    if inner is None:
        yield dataset
    else:
        for one in inner:
            yield from plain_datasets(one)


def check_dataset(dataset: dict, where: str) -> None:
    """Raise InputError if ``data_prefix`` or ``ann_file`` of one data set's config do not lead to data."""
    root = dataset.get('data_root') or ''
    prefix = dataset.get('data_prefix') or ''
    for folder in prefix.values() if isinstance(prefix, dict) else [prefix]:
        path = os.path.join(root, folder or '')
        if not folder or '://' in path:
            continue
        if not os.path.isdir(path):
            raise InputError(f'{where}: folder {path} does not exist: expected the data that the config describes')
        if not any(os.scandir(path)):
            raise InputError(f'{where}: folder {path} is empty: expected the data that the config describes')
    annotations = os.path.join(root, dataset.get('ann_file') or '')
    if dataset.get('ann_file') and '://' not in annotations and not os.path.isfile(annotations):
        raise InputError(f'{where}: annotation file {annotations} does not exist')
