"""Files that a data set names and that do not exist, and files in its folders that it does not take."""

from __future__ import annotations

import os
import traceback
from collections import Counter
from collections.abc import Iterator, Sequence
from itertools import islice

from mmengine.fileio import list_dir_or_file
from mmpretrain.datasets import CustomDataset

from mixskd_mm.errors import InputError

from .class_names import describe


def check_files_exist(dataset) -> None:
    """Raise InputError if images or label maps of a data set are missing, with how many, of how many, and the first."""
    for kind, paths in named_files(dataset).items():
        missing = missing_files(paths)
        if missing:
            raise InputError(
                f'{len(missing):,} of the {len(paths):,} {kind} of {describe(dataset)} do not exist (first: {missing[0]}): '
                'expected all'
            )


def named_files(dataset) -> dict[str, list[str]]:
    """The ``'images'`` and ``'label maps'`` that a data set reads without having found them in a folder."""
    keys = {}
    if not (finds_images(dataset) or finds_classes(dataset)):
        keys['images'] = 'img_path'
    if reads_maps(dataset):
        keys['label maps'] = 'seg_map_path'
    if not is_local(dataset) or not len(dataset):
        return {}
    first = dataset.get_data_info(0)
    keys = {kind: key for kind, key in keys.items() if first.get(key)}
    infos = [dataset.get_data_info(i) for i in range(len(dataset))] if keys else []
    return {kind: [str(info[key]) for info in infos] for kind, key in keys.items()}


def missing_files(paths: Sequence[str]) -> list[str]:
    """Those of the paths that do not exist. Each folder is listed once."""
    entries: dict[str, set[str]] = {}
    missing = []
    for path in paths:
        folder, name = os.path.split(path)
        if folder not in entries:
            entries[folder] = set(os.listdir(folder or '.')) if os.path.isdir(folder or '.') else set()
        if '://' not in path and name not in entries[folder]:
            missing.append(path)
    return missing


def skipped_notices(dataset) -> Iterator[str]:
    """A line each about files in the folders of a data set that it does not take: how many, and the first.

    For data sets that find their images in folders: a list says what it takes.
    """
    if not is_local(dataset):
        return
    if finds_classes(dataset):
        folder = dataset.img_prefix
        files = list_files(folder)
        # Beside the folders of the classes.
        taken = [file for file in files if dataset.is_valid_file(file) and (not dataset.with_label or os.sep in file)]
        yield from not_taken(
            folder, files, taken, f'{", ".join(sorted(dataset.extensions))} in a folder for each class'
        )
    elif finds_images(dataset):
        folder, suffix = dataset.data_prefix['img_path'], dataset.img_suffix
        files = list_files(folder)
        taken = [file for file in files if file.endswith(suffix)]
        yield from not_taken(folder, files, taken, f'*{suffix} (img_suffix)')
        yield from maps_without_image(dataset, {file.removesuffix(suffix) for file in taken})


def no_images(dataset) -> str:
    """What to say of a data set that has none."""
    return '; '.join([f'{describe(dataset)} has no images: expected some', *islice(skipped_notices(dataset), 1)])


def empty_dataset(error: BaseException) -> object | None:
    """The data set without images that mmengine could not store, which ended in ``error``; None if it is about another."""
    for frame, _ in traceback.walk_tb(error.__traceback__):
        dataset = frame.f_locals.get('self')
        if frame.f_code.co_name == '_serialize_data' and not getattr(dataset, 'data_list', True):
            return dataset
    return None


def not_taken(folder: str, files: Sequence[str], taken: Sequence[str], expected: str) -> Iterator[str]:
    """A line about the files that are not taken, if there are any."""
    skipped = sorted({*files}.difference(taken))
    if skipped:
        kinds = Counter(os.path.splitext(file)[1] or 'no extension' for file in skipped)
        numbers = ', '.join(f'{count:,} {kind}' for kind, count in kinds.most_common())
        yield (
            f'{folder}: {len(skipped):,} of {len(files):,} files are not taken: {numbers} (first: '
            f'{os.path.join(folder, skipped[0])}): expected {expected}'
        )


def maps_without_image(dataset, images: set[str]) -> Iterator[str]:
    """A line about label maps that belong to none of ``images``, paths without suffix, if there are any."""
    folder, suffix = dataset.data_prefix.get('seg_map_path'), dataset.seg_map_suffix
    if not folder or not os.path.isdir(folder):
        return
    maps = sorted(file.removesuffix(suffix) for file in list_files(folder) if file.endswith(suffix))
    # Converters write others beside them, as 1_labelTrainIds.png beside 1.png.
    alone = [file for file in maps if not {file, file.rpartition('_')[0]} & images]
    if alone:
        yield (
            f'{folder}: {len(alone):,} of {len(maps):,} label maps have no image (first: '
            f'{os.path.join(folder, alone[0] + suffix)})'
        )


def list_files(folder: str) -> list[str]:
    """The files in a folder and in those in it, hidden ones left out, as paths from there."""
    return list(list_dir_or_file(folder, list_dir=False, recursive=True))


def finds_classes(dataset) -> bool:
    """Whether a classification data set takes its images from a folder, with one for each class or without."""
    return isinstance(dataset, CustomDataset) and not dataset.ann_file


def finds_images(dataset) -> bool:
    """Whether a segmentation data set takes all images in a folder that have its suffix."""
    by_suffix = hasattr(dataset, 'img_suffix') and hasattr(dataset, 'seg_map_suffix')
    return by_suffix and (not dataset.ann_file or os.path.isdir(dataset.ann_file))


def is_local(dataset) -> bool:
    """Whether a data set reads its files from folders, as far as its settings say."""
    prefixes = getattr(dataset, 'data_prefix', None)
    values = list(prefixes.values()) if isinstance(prefixes, dict) else []
    elsewhere = any(getattr(one, 'backend_args', None) for one in (dataset, *steps(dataset)))
    return bool(values) and not elsewhere and not any('://' in str(value) for value in values)


def reads_maps(dataset) -> bool:
    """Whether the pipeline of a data set loads label maps."""
    return any(getattr(step, 'with_seg', False) for step in steps(dataset))


def steps(dataset) -> Sequence:
    """The transforms of a data set's pipeline."""
    return getattr(getattr(dataset, 'pipeline', None), 'transforms', ())
