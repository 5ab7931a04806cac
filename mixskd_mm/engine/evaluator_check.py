"""Do the evaluators fit the model and the data that they are used on? Asked before the first iteration."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence

from mmpretrain.evaluation import Accuracy, MultiLabelMetric

from mixskd_mm.datasets.class_names import check_categories, class_names, describe
from mixskd_mm.datasets.coco_annotations import inspect_annotations
from mixskd_mm.errors import InputError


def check_evaluators(
    metrics: Sequence, configs, name: str, datasets: Sequence, num_classes: int | None = None
) -> Iterator[str]:
    """Compare evaluators with the head and with the data sets that are evaluated.

    Args:
        metrics (Sequence): The evaluators.
        configs: Their config, a dict or a list of some.
        name (str): Its key, such as ``'val_evaluator'``.
        datasets (Sequence): The data sets of the loader, without wrappers.
        num_classes (int, optional): Number of classes of the classifier's head; None if the model is no classifier.

    Yields:
        Notices, a line each.

    Raises:
        InputError: if an evaluator asks for more classes than there are, or reads the annotations of other images, in
            other classes, or of none.
    """
    several = isinstance(configs, list | tuple)
    for i, metric in enumerate(metrics):
        place = f'{name}.{i}' if several else name
        config = (configs[i] if several else configs) or {}
        if isinstance(metric, Accuracy | MultiLabelMetric) and num_classes is not None:
            check_topk(metric.topk, num_classes, f'{place}.topk')
        file = config.get('ann_file') if isinstance(config, dict) else None
        if is_coco(metric):
            yield from check_coco(metric, f'{place}.ann_file={file}', file, datasets)
        elif file and not any(same_file(file, getattr(part, 'ann_file', '')) for part in datasets):
            yield f'{place}.ann_file={file} is not the annotation file of {describe(datasets[0])}'


def check_topk(topk: int | Sequence[int] | None, num_classes: int, setting: str) -> None:
    """Raise InputError if the best ``k`` of fewer classes are asked for."""
    numbers = [topk] if isinstance(topk, int) else topk or []
    wrong = [k for k in numbers if not 1 <= k <= num_classes]
    if wrong:
        raise InputError(f'{setting}={topk}: expected 1 to {num_classes}, since head.num_classes={num_classes}')


def is_coco(metric) -> bool:
    """Whether an evaluator is mmdet's for boxes and masks of COCO files, with or without a file of its own."""
    if not hasattr(metric, '_coco_api'):
        return False
    from mmdet.datasets.api_wrappers import COCO
    from mmdet.evaluation import CocoMetric

    # LVIS and panoptic files have other fields.
    return isinstance(metric, CocoMetric) and (metric._coco_api is None or type(metric._coco_api) is COCO)


def check_coco(metric, setting: str, file: str | None, datasets: Sequence) -> Iterator[str]:
    """Compare the annotations that mmdet's ``CocoMetric`` reads with those of the data sets that are evaluated.

    Args:
        metric (CocoMetric): The evaluator.
        setting (str): What messages call its file.
        file (str, optional): Its file; None if it takes the annotations from the data sets.
        datasets (Sequence): The data sets.

    Yields:
        A notice if images of the file are not evaluated.

    Raises:
        InputError: as :func:`check_evaluators`.
    """
    found = [getattr(part, 'coco_annotations', None) for part in datasets]
    if not metric.format_only and None not in found and not sum(one.boxes for one in found):
        raise InputError(f'{describe(datasets[0])} has no annotations: expected boxes to evaluate')
    names = class_names(getattr(datasets[0], 'metainfo', None))
    if metric._coco_api is None or names is None:
        return
    if any(not same_file(file, getattr(part, 'ann_file', '')) for part in datasets):
        theirs = inspect_annotations(metric._coco_api.dataset, str(file), names)
        check_categories(theirs.categories, str(file), names, setting)
        check_same_images(theirs.images, setting, datasets)
    tested, total = sum(map(len, datasets)), len(metric._coco_api.imgs)
    if tested < total:
        yield f'{setting} has {total:,} images, of which {tested:,} are evaluated: all boxes of the others count as missed'


def check_same_images(images: dict, setting: str, datasets: Sequence) -> None:
    """Raise InputError unless an evaluator's images, ids and file names, are those of the data sets."""
    for part in datasets:
        ours = annotated_images(part)
        other = [number for number, path in ours.items() if base(images.get(number, '')) != base(path)]
        if other:
            raise InputError(
                f'{setting}: {len(other):,} of the {len(ours):,} images of {describe(part)} are not in it, or others have '
                f'their ids (first: {ours[other[0]]}, id {other[0]}): expected the annotations of the same images'
            )
    more = set(images).difference(*map(annotated_images, datasets))
    if more:
        first = min(more, key=str)
        raise InputError(
            f'{setting} has {len(more):,} images that {describe(datasets[0])} does not have (first: {images[first]}, id '
            f'{first}): expected the annotations of the same images'
        )


def annotated_images(dataset) -> dict:
    """File names of the images of a detection data set by their ids, also of those that it leaves out."""
    found = getattr(dataset, 'coco_annotations', None)
    if found is not None:
        return found.images
    infos = (dataset.get_data_info(i) for i in range(len(dataset)))
    return {info['img_id']: info['img_path'] for info in infos}


def base(path: str) -> str:
    return os.path.basename(path)


def same_file(one: str | None, other: str) -> bool:
    """Whether two names are those of one file."""
    if not one or not other:
        return False
    return one == other or (os.path.exists(one) and os.path.exists(other) and os.path.samefile(one, other))
