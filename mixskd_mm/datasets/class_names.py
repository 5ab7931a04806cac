"""A label means the same class in every data set, in the checkpoint and in the annotations."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Sequence

from mixskd_mm.errors import InputError


def built_datasets(dataset) -> Iterator:
    """The data sets inside wrappers such as ConcatDataset and RepeatDataset, or the one itself."""
    inner = getattr(dataset, 'datasets', None) or ([dataset.dataset] if hasattr(dataset, 'dataset') else None)
    if inner is None:
        yield dataset
    else:
        for one in inner:
            yield from built_datasets(one)


def describe(dataset) -> str:
    """Type and place of a data set, for messages."""
    place = getattr(dataset, 'ann_file', '') or getattr(dataset, 'data_root', '') or getattr(dataset, 'data_prefix', '')
    return f'{type(dataset).__name__} in {place!r}'


def class_names(metainfo: dict | None) -> tuple[str, ...] | None:
    """The names of the classes by label, as a data set or a checkpoint (``meta.dataset_meta``) has them, or None."""
    metainfo = metainfo or {}
    names = metainfo.get('classes', metainfo.get('CLASSES'))
    return None if names is None or isinstance(names, str) else tuple(map(str, names))


def check_same_classes(names: Sequence[str] | None, source: str, expected: Sequence[str] | None, other: str) -> None:
    """Raise InputError, naming both sources and the first class that differs, unless the names agree in order.

    Nothing is compared where one of them has no names.
    """
    if names is None or expected is None or tuple(names) == tuple(expected):
        return
    if len(names) != len(expected):
        missing = [name for name in expected if name not in names]
        extra = [name for name in names if name not in expected]
        lists = [f'without {name!r}' for name in missing[:1]] + [f'with {name!r}' for name in extra[:1]]
        raise InputError(
            f'{source} has {len(names)} classes ({" and ".join(lists) or "some twice"}), {other} has {len(expected)}: '
            'expected the same classes, since labels are their places in the list'
        )
    label = next(i for i, (name, wanted) in enumerate(zip(names, expected, strict=True)) if name != wanted)
    raise InputError(
        f'{source} has class {label} {names[label]!r}, {other} has {expected[label]!r}: expected the same classes in the '
        'same order'
    )


def check_datasets_agree(datasets: Sequence) -> None:
    """Raise InputError unless all data sets, wrapped or not, have the classes of the first."""
    parts = [part for dataset in datasets for part in built_datasets(dataset)]
    for part in parts[1:]:
        check_same_classes(
            class_names(getattr(part, 'metainfo', None)),
            describe(part),
            class_names(getattr(parts[0], 'metainfo', None)),
            describe(parts[0]),
        )


def check_category_order(dataset) -> None:
    """Raise InputError if a COCO file numbers its categories otherwise than the config's classes.

    mmdet gives labels in the order of the file's categories, and names in the order of ``metainfo.classes``.
    """
    names = class_names(getattr(dataset, 'metainfo', None))
    if not hasattr(dataset, 'cat_ids') or not names or not os.path.isfile(dataset.ann_file):
        return
    # Classes that read their annotations in a way of their own keep nothing of the file.
    annotations = getattr(dataset, 'coco_annotations', None)
    categories = coco_categories(dataset.ann_file) if annotations is None else annotations.categories
    check_categories(categories, dataset.ann_file, names, describe(dataset))


def check_categories(categories: Sequence[dict], file: str, names: Sequence[str], dataset: str) -> None:
    """Raise InputError unless the categories of a COCO file, in their order, have the names of a data set's classes.

    Args:
        categories (Sequence[dict]): The categories, which may be more than the classes.
        file (str): Where they are from.
        names (Sequence[str]): The names of the classes, by label.
        dataset (str): Type and place of the data set, for messages.
    """
    found = [category.get('name') for category in categories if category.get('name') in names]
    twice = {name for name in found if found.count(name) > 1}
    if twice:
        raise InputError(f'{file} has several categories named {min(twice)!r}: expected different names')
    if len(found) != len(names):
        raise InputError(
            f'{dataset} has annotations of {len(found)} of the {len(names)} classes of the config: expected all; '
            'set metainfo.classes to the names in the file'
        )
    check_same_classes(found, f'{file} (categories)', names, "the data set's metainfo")


def coco_categories(path: str) -> list[dict]:
    """The categories of a COCO file, without decoding its annotations where they can be found by their name.

    Raises:
        InputError: if the file is no JSON with a list of categories.
    """
    with open(path, encoding='utf-8') as file:
        text = file.read()
    try:
        start = text.index('"categories"')
        start = text.index('[', start)
        categories, _ = json.JSONDecoder().raw_decode(text, start)
    except ValueError as error:
        raise InputError(f'{path} has no list of categories: expected COCO annotations ({error})') from error
    if not all(isinstance(category, dict) for category in categories):
        raise InputError(f'{path}: expected categories with id and name')
    return categories
