#!/usr/bin/env python
"""Check the data sets of a config: what is missing, how many images and labels there are, which images are broken."""

from __future__ import annotations

import argparse
import os
import re
import sys
from collections.abc import Callable, Iterable, Iterator
from itertools import chain

import numpy as np
from mmengine.registry import DATASETS, init_default_scope
from torch.utils.data import DataLoader

from mixskd_mm.cli import Settings, cores, describe_input_error, exit_on_input_error, load_config
from mixskd_mm.datasets.class_names import check_category_order, check_same_classes, class_names, describe
from mixskd_mm.datasets.coco_annotations import annotation_notices, inspect_when_read
from mixskd_mm.datasets.folders import check_dataset, plain_datasets, type_name
from mixskd_mm.datasets.image_sizes import by_orientation, size, size_problem, spread, turned, turned_notice
from mixskd_mm.datasets.label_maps import is_binary, read_as_stored, storage_problem
from mixskd_mm.datasets.skipped_files import missing_files, named_files, skipped_notices
from mixskd_mm.errors import InputError, last_line
from mixskd_mm.progress import track

# How many missing files are named one by one.
NAMED = 10
LOADERS = {split: f'{split}_dataloader' for split in ('train', 'val', 'test')}

# Images to train and to test, as published. COCO 2017 has 1,021 training images without boxes, which mmdet leaves out.
PUBLISHED = {
    'CIFAR100': ({50_000}, {10_000}),
    'CUB': ({5_994}, {5_794}),
    'StanfordDogs': ({12_000}, {8_580}),
    'MITIndoor67': ({5_360}, {1_340}),
    'StanfordCars': ({8_144}, {8_041}),
    'FGVCAircraft': ({6_667}, {3_333}),
    'ImageNet': ({1_281_167}, {50_000}),
    'CocoDataset': ({118_287, 117_266}, {5_000}),
    'PascalVOCDataset': ({10_582}, {1_449}),
    'ADE20KDataset': ({20_210}, {2_000}),
    'COCOStuffDataset': ({118_287}, {5_000}),
    'COCOStuff182Dataset': ({118_287}, {5_000}),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('config', help='config file')
    parser.add_argument(
        '--samples', default='64', metavar='N|all', help='how many images of each set to decode (default: 64)'
    )
    parser.add_argument(
        '--cfg-options', nargs='+', action=Settings, metavar='KEY=VALUE', help='override settings of the config'
    )
    # What reading a config asks for besides, and nothing here uses.
    parser.set_defaults(on=None, launcher='none', work_dir=None, local_rank=0)
    args = parser.parse_args()
    if args.samples != 'all' and not re.fullmatch('[1-9][0-9]*', args.samples):
        raise InputError(f'--samples {args.samples}: expected a number > 0, or all')
    samples = sys.maxsize if args.samples == 'all' else int(args.samples)
    cfg = load_config(args)
    init_default_scope(cfg.get('default_scope', 'mmengine'))
    inspect_when_read()
    heads = dict(head_classes(cfg.model))
    problems, opened = 0, []
    for splits, dataset in data_sets(cfg):
        found, parts = check_set(splits, dataset, heads, samples, published='own_data' not in cfg)
        problems += found
        opened += parts
    pairs = [(*names_and_place(part), *names_and_place(opened[0])) for part in opened[1:]]
    problems += say_problems(problems_of(check_same_classes, *pair) for pair in pairs)
    print(f'{problems} problem{"s" * (problems != 1)} found')
    sys.exit(1 if problems else 0)


def data_sets(cfg: dict) -> Iterator[tuple[list[str], dict]]:
    """The data sets of the loaders of a config, each with the splits that it serves: val and test mostly are the same."""
    found = []
    for split, loader in LOADERS.items():
        if not cfg.get(loader):
            continue
        dataset = cfg[loader].dataset
        for splits, other in found:
            if other == dataset:
                splits.append(split)
                break
        else:
            found.append(([split], dataset))
    yield from found


def head_classes(config: dict, path: str = 'model') -> Iterator[tuple[str, int]]:
    """Place and number of classes of each head in a model's config that classifies images, boxes or pixels."""
    for key, value in config.items():
        several = isinstance(value, list | tuple)
        for i, part in enumerate(value if several else [value]):
            if not isinstance(part, dict):
                continue
            place = f'{path}.{key}.{i}' if several else f'{path}.{key}'
            if key in ('head', 'bbox_head', 'mask_head', 'decode_head', 'auxiliary_head') and 'num_classes' in part:
                yield place, part['num_classes']
            yield from head_classes(part, place)


def names_and_place(dataset) -> tuple[tuple[str, ...] | None, str]:
    return class_names(dataset.metainfo), describe(dataset)


def problems_of(check: Callable, *arguments) -> list[str]:
    """The line of the error that ``check`` raises, if it does."""
    try:
        check(*arguments)
    except InputError as error:
        return [str(error)]
    return []


def say_problems(found: Iterable[list[str]]) -> int:
    """Print them. Number of problems."""
    problems = [problem for lines in found for problem in lines]
    for problem in problems:
        print(f'  problem: {problem}')
    return len(problems)


def check_set(
    splits: list[str], config: dict, heads: dict[str, int], samples: int, published: bool
) -> tuple[int, list]:
    """Check one set and print what was found; its parts one by one if it is joined of some.

    ``published`` is whether it should have the number of images of the published one.

    Returns:
        tuple: Number of problems, and the data sets that could be opened.
    """
    problems, total, names, opened = 0, 0, set(), []
    for part in plain_datasets(config):
        dataset, found = open_dataset(part, splits[0])
        place = f'{part.get("type")} in {part.get("data_root")!r}' if dataset is None else describe(dataset)
        print(f'{", ".join(splits)}: {place}')
        if dataset is not None:
            total += len(dataset)
            names.add(type_name(part))
            opened.append(dataset)
            found += check_opened(dataset, heads, samples)
        problems += say_problems([found])
    name = names.pop() if len(names) == 1 else None
    if published and name in PUBLISHED:
        known = PUBLISHED[name]['train' not in splits]
        if total not in known:
            numbers = ' or '.join(f'{number:,}' for number in sorted(known))
            print(f'  notice: {total:,} images; the published set has {numbers}')
    return problems, opened


def open_dataset(config: dict, split: str) -> tuple[object | None, list[str]]:
    """A data set with only the loading steps of its pipeline, or None with what is wrong."""
    config = config.copy()
    if type_name(config) == 'CIFAR100':
        # To check is not to fetch.
        config['download'] = False
    # The types of a config are strings or classes.
    config['pipeline'] = [step for step in config.get('pipeline', ()) if type_name(step).startswith('Load')]
    try:
        check_dataset(config, f'{LOADERS[split]}.dataset')
        dataset = DATASETS.build(config)
        dataset.full_init()
    # Whatever the host libraries make of damaged annotations.
    except Exception as error:
        return None, [describe_input_error(error) or f'cannot be opened: {type(error).__name__}: {last_line(error)}']
    return dataset, []


def check_opened(dataset, heads: dict[str, int], samples: int) -> list[str]:
    """Print the numbers of a data set; return what is wrong with its labels and images."""
    classes = dataset.metainfo.get('classes') or ()
    labels = image_labels(dataset)
    num_classes = heads.get('model.head', len(classes))
    problems = []
    if 'model.head' not in heads:
        problems += class_problems(dataset, len(classes), heads)
    elif len(classes) not in (0, num_classes):
        print(f'  notice: model.head.num_classes={num_classes}, but the data set has {len(classes)} classes')
    numbers = [f'{len(dataset):,} images', f'{len(classes)} classes']
    if labels:
        numbers += label_numbers(labels, num_classes, per_image=hasattr(dataset, 'get_gt_labels'))
        problems += [
            f'{name_of(dataset, i)} has label {label}: expected 0 to {num_classes - 1}'
            for i, image in enumerate(labels)
            for label in image
            if not 0 <= label < num_classes
        ]
    print(f'  {", ".join(numbers)}')
    absent = sorted(set(range(num_classes)).difference(chain.from_iterable(labels)))
    if labels and absent:
        first = repr(classes[absent[0]]) if absent[0] < len(classes) else absent[0]
        what = 'image' if hasattr(dataset, 'get_gt_labels') else 'box'
        print(f'  notice: {len(absent)} of the {num_classes} classes have no {what} (first: {first})')
    for notice in chain(annotation_notices(dataset), skipped_notices(dataset)):
        print(f'  notice: {notice}')
    return problems + check_images(dataset, len(classes), samples)


def class_problems(dataset, num_classes: int, heads: dict[str, int]) -> list[str]:
    """What does not fit between the classes of a data set, its annotations and the heads of a detector or segmenter."""
    problems = [
        f'{name}.num_classes={number}: expected {num_classes}, the classes of the data set'
        for name, number in heads.items()
        if number != num_classes
    ]
    return problems + problems_of(check_category_order, dataset)


def image_labels(dataset) -> list[list[int]]:
    """The labels of each image, one to classify it or one a box; an empty list if only files have them, or none has."""
    if not {'gt_label', 'instances'} & set(dataset.get_data_info(0)):
        return []
    return [dataset.get_cat_ids(i) for i in range(len(dataset))]


def label_numbers(labels: list[list[int]], num_classes: int, per_image: bool) -> list[str]:
    """Range of the labels and, where an image has one, the least and greatest number of images of a class."""
    flat = np.fromiter(chain.from_iterable(labels), dtype=int)
    if not len(flat):
        return ['no labels']
    numbers = [f'labels {flat.min()} to {flat.max()}']
    if per_image:
        counts = np.bincount(flat[(flat >= 0) & (flat < num_classes)], minlength=num_classes)
        least, most = f'{counts.min():,}', f'{counts.max():,}'
        return [*numbers, f'{least if least == most else f"{least} to {most}"} images per class']
    return [*numbers, f'{len(flat):,} boxes']


def check_images(dataset, num_classes: int, samples: int) -> list[str]:
    """Look for all files that a data set names, load evenly spaced images, and print how many and how many are turned.

    Returns:
        list[str]: What is wrong with each.
    """
    if not dataset.pipeline.transforms:
        print('  images are not in files of their own: nothing to decode')
        return []
    missing, problems = set(), []
    for kind, paths in named_files(dataset).items():
        absent = missing_files(paths)
        missing.update(absent)
        problems += [f'{path} does not exist' for path in absent[:NAMED]]
        if len(absent) > NAMED:
            problems.append(f'{len(absent) - NAMED:,} more of the {len(paths):,} {kind} do not exist')
    indices = spread(len(dataset), samples)
    # Starting processes takes longer than reading a few images.
    workers = cores() if len(indices) > 1000 else 0
    inspection = Inspection(dataset, num_classes, missing)
    loader = DataLoader(inspection, batch_size=None, sampler=indices, num_workers=workers, collate_fn=tuple)
    found, turned_images = zip(*track(loader, '  decoding', total=len(indices)), strict=True)
    print(f'  {len(indices):,} images checked')
    turned_images = list(filter(None, turned_images))
    if turned_images:
        print(f'  notice: {turned_notice(len(turned_images), len(indices), turned_images[0])}')
    return problems + list(chain.from_iterable(found))


class Inspection:
    """A data set for a DataLoader: what is wrong with each image and its annotations.

    Args:
        dataset: The data set, with the loading steps of its pipeline.
        num_classes (int): Number of its classes.
        missing (set[str]): Files that do not exist, of which nothing is said.
    """

    def __init__(self, dataset, num_classes: int, missing: set[str]) -> None:
        self.dataset = dataset
        self.num_classes = num_classes
        self.missing = missing

    def __getitem__(self, index: int) -> tuple[list[str], str | None]:
        """A list of lines, and the image's file if it has boxes or a label map and is turned when it is loaded."""
        results = self.dataset.get_data_info(index)
        expected = results.get('height'), results.get('width')
        image = name_of(self.dataset, index)
        for step in self.dataset.pipeline.transforms:
            reads_map = type(step).__name__ == 'LoadAnnotations' and getattr(step, 'with_seg', False)
            file = results.get('seg_map_path') if reads_map else image
            if file in self.missing:
                return [], None
            try:
                results = step(results)
            # Whatever the decoders make of damaged files.
            except Exception as error:
                return [f'{file} {unreadable(file, error)}'], None
            if results is None:
                return [f'{file} cannot be read'], None
        problems = []
        shape = results['img'].shape[:2]
        if None not in expected:
            problems += filter(None, [size_problem(image, shape, expected, 'its annotation says')])
        if 'gt_seg_map' in results:
            problems += self.map_problems(results['seg_map_path'], results['gt_seg_map'], image, shape)
        has_places = None not in expected or 'gt_seg_map' in results
        return problems, image if has_places and turned(image, results['img']) else None

    def map_problems(self, file: str, labels: np.ndarray, image: str, shape: tuple[int, int]) -> list[str]:
        """What is wrong with a map of labels ``(H, W)`` of an image that is loaded in that shape."""
        stored = read_as_stored(file)
        problem = None if stored is None else storage_problem(stored)
        if problem:
            return [f'{file} {problem}']
        if stored is not None and is_binary(stored, self.dataset.ignore_index):
            return [f'{file} has 0 and 255 only, and 255 is ignored: expected the labels of {self.num_classes} classes']
        if labels.shape != shape:
            turn = by_orientation(image)
            return [
                f'{file} is {size(labels.shape)}: expected {size(shape)}, as its image{turn and f" {image} is{turn}"}'
            ]
        values = np.unique(labels)
        wrong = values[(values >= self.num_classes) & (values != self.dataset.ignore_index)]
        if not len(wrong):
            return []
        return [
            f'{file} has label {", ".join(map(str, wrong))}: expected 0 to {self.num_classes - 1} or '
            f'{self.dataset.ignore_index}, which is ignored'
        ]


def name_of(dataset, index: int) -> str:
    """The file of an image, or its place in the data set."""
    return dataset.get_data_info(index).get('img_path') or f'image {index}'


def unreadable(file: str, error: Exception) -> str:
    """Why a file could not be loaded."""
    if '://' not in file and not os.path.isfile(file):
        return 'does not exist'
    if '://' not in file and os.path.getsize(file) == 0:
        return 'is empty'
    return f'cannot be read ({type(error).__name__}): expected a whole image'


if __name__ == '__main__':
    exit_on_input_error(main)
