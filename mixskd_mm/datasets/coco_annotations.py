"""COCO annotation files: what cannot be, which boxes do not count, and how many."""

from __future__ import annotations

import math
import sys
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from mixskd_mm.errors import InputError

FIELDS = dict(
    categories=('id', 'name'),
    images=('id', 'file_name', 'width', 'height'),
    annotations=('id', 'image_id', 'category_id', 'bbox', 'area'),
)
# Boxes of hidden parts reach out of their image, but none as far as this many times its size.
FAR = 100
# Reasons not to count that an annotation gives itself.
MEANT = ('marked to be ignored', 'crowds')
# In pixels: where boxes were rounded, or count from 1.
ROUNDED = 2


@dataclass(frozen=True)
class CocoAnnotations:
    """What is known of an annotation file that was read.

    Attributes:
        file (str): The file.
        categories (list[dict]): Its categories, in its order, with ``id`` and ``name``.
        images (dict): The file names of its images, by their ids.
        boxes (int): How many of its annotations are boxes that mmdet trains on.
        notices (tuple[str, ...]): What is suspicious, a line each, with numbers.
    """

    file: str
    categories: list[dict]
    images: dict[int | str, str]
    boxes: int
    notices: tuple[str, ...]


def inspect_annotations(
    content: object, file: str, classes: Collection[str], with_masks: bool = False
) -> CocoAnnotations:
    """Look at all images, categories and boxes of an annotation file.

    Args:
        content: What the file holds, parsed.
        file (str): Its name, for messages.
        classes (Collection[str]): The names of the classes that are trained or tested.
        with_masks (bool): Look at polygons, too. Defaults to False.

    Raises:
        InputError: for what cannot be: fields that are missing, ids that are there twice, numbers that are not finite or
            far outside of the image, annotations of which none counts.
    """
    if not isinstance(content, Mapping):
        raise InputError(f'{file} holds no dict: expected COCO annotations')
    categories, images = parts(content, 'categories', file), parts(content, 'images', file)
    # A list of images to predict on has none.
    annotations = parts(content, 'annotations', file) if 'annotations' in content else []
    check_images(images, file)
    by_id = {image['id']: image for image in images}
    # (N, 2), NaN where the file lists no such image.
    unknown = dict(width=np.nan, height=np.nan)
    owners = [by_id.get(one['image_id'], unknown) for one in annotations]
    sizes = np.array([(image['width'], image['height']) for image in owners], dtype=float).reshape(-1, 2)
    boxes = box_array(annotations, sizes, file)
    if with_masks:
        check_polygons(annotations, sizes, file)
    reasons = not_counted(annotations, boxes, sizes, categories, classes)
    counted = ~np.any(list(reasons.values()), axis=0)
    lines = {
        reason: f'{found.sum():,} of {len(annotations):,} annotations do not count: {reason} (first: '
        f'{named(annotations[found.argmax()])})'
        for reason, found in reasons.items()
        if found.any()
    }
    if annotations and not counted.any():
        raise InputError(
            f'{file}: {"; ".join(lines.values())}: expected boxes of at least a pixel in their images, of the classes in '
            'metainfo.classes'
        )
    notices = [line for reason, line in lines.items() if reason not in MEANT]
    notices += suspicious(images, annotations, counted, boxes, sizes)
    return CocoAnnotations(
        file,
        categories,
        {image['id']: image['file_name'] for image in images},
        int(counted.sum()),
        tuple(f'{file}: {notice}' for notice in notices),
    )


def inspect_when_read() -> None:
    """Let mmdet's ``CocoDataset``, if mmdet is imported, inspect the annotations that it reads from now on.

    Its data sets then have an attribute ``coco_annotations``, and reading raises what :func:`inspect_annotations` does; so
    do classes that inherit from it and read as it does. Afterwards mmdet has forgotten what it did not take.
    """
    if sys.modules.get('mmdet'):
        from mmdet.datasets import CocoDataset

        from .coco_api import InspectedCOCO

        # A function, not the class: it gets the data set.
        CocoDataset.COCOAPI = lambda dataset, path: InspectedCOCO(dataset, path)


def annotation_notices(dataset) -> tuple[str, ...]:
    """What is suspicious in the annotations of a data set, a line each; none if it has no COCO file."""
    found = getattr(dataset, 'coco_annotations', None)
    return () if found is None else found.notices


def parts(content: Mapping, name: str, file: str) -> list[dict]:
    """One list of the file. Raises InputError unless its elements have all fields, and ids of their own."""
    found = content.get(name)
    if not isinstance(found, list) or not all(isinstance(part, Mapping) for part in found):
        raise InputError(f'{file} has no list of {name}: expected COCO annotations')
    for field in FIELDS[name]:
        lacking = [i for i, part in enumerate(found) if field not in part]
        if lacking:
            raise InputError(
                f'{file}: {len(lacking):,} of {len(found):,} {name} have no {field} (first: {name}[{lacking[0]}]): expected '
                f'{", ".join(FIELDS[name])}'
            )
        strange = [part[field] for part in found if field.endswith('id') and not isinstance(part[field], int | str)]
        if strange:
            raise InputError(f'{file}: {name} have {field} {strange[0]!r}: expected a whole number')
    twice = [number for number, count in Counter(part['id'] for part in found).items() if count > 1]
    if twice:
        raise InputError(
            f'{file}: {len(twice):,} ids of {name} are there several times (first: id {twice[0]}): expected different ids'
        )
    return found


def check_images(images: Sequence[Mapping], file: str) -> None:
    """Raise InputError for an image whose name is no text or whose size is no number of pixels."""
    for image in images:
        if not isinstance(image['file_name'], str) or not image['file_name']:
            raise InputError(f'{file}: image {image["id"]} has file_name {image["file_name"]!r}: expected a name')
        if not all(type(image[side]) in (int, float) and 0 < image[side] < math.inf for side in ('width', 'height')):
            raise InputError(
                f'{file}: image {image["id"]} ({image["file_name"]}) is {image["width"]} x {image["height"]}: expected '
                'numbers of pixels'
            )


def box_array(annotations: Sequence[Mapping], sizes: np.ndarray, file: str) -> np.ndarray:
    """Boxes and areas, ``(N, 5)``: x, y, width, height and area.

    Args:
        annotations (Sequence[Mapping]): The annotations, N.
        sizes (np.ndarray): Width and height of their images, ``(N, 2)``; NaN where they are not known.
        file (str): The annotations' file, for messages.

    Raises:
        InputError: naming the first box that is not four finite numbers near its image.
    """
    wrong = [i for i, one in enumerate(annotations) if not is_box(one['bbox'], one['area'])]
    if not wrong:
        boxes = np.array([(*one['bbox'], one['area']) for one in annotations], dtype=float).reshape(-1, 5)
        far = np.abs(boxes[:, :4]).max(1, initial=0) > FAR * sizes.max(1, initial=0)
        wrong = np.flatnonzero(far | ~np.isfinite(boxes).all(1))
    if len(wrong):
        first = annotations[wrong[0]]
        raise InputError(
            f'{file}: {len(wrong):,} of {len(annotations):,} annotations have numbers that cannot be (first: '
            f'{named(first)}, with bbox {first["bbox"]} and area {first["area"]}): expected finite x, y, width and height '
            'in pixels of the image'
        )
    return boxes


def is_box(box: object, area: object) -> bool:
    """Whether a box is four numbers and an area is one."""
    return (
        isinstance(box, list | tuple) and len(box) == 4 and all(type(value) in (int, float) for value in (*box, area))
    )


def check_polygons(annotations: Sequence[Mapping], sizes: np.ndarray, file: str) -> None:
    """Raise InputError, naming the first, if a mask has polygons of other than finite numbers near its image.

    Args: as :func:`box_array`. Masks of run lengths are left to pycocotools.
    """
    for one, size in zip(annotations, sizes, strict=True):
        polygons = one.get('segmentation') or []
        if isinstance(polygons, list) and not all(is_polygon(polygon, FAR * size.max()) for polygon in polygons):
            raise InputError(
                f'{file}: the mask of {named(one)} has numbers that cannot be: expected polygons of finite x, y, ... in '
                'pixels of the image'
            )


def is_polygon(polygon: object, limit: float) -> bool:
    """Whether a polygon is numbers, none of which is beyond a limit (NaN: any finite number passes)."""
    if not isinstance(polygon, list) or not {*map(type, polygon)} <= {int, float}:
        return False
    return all(map(math.isfinite, polygon)) and not max(map(abs, polygon), default=0) > limit


def not_counted(
    annotations: Sequence[Mapping],
    boxes: np.ndarray,
    sizes: np.ndarray,
    categories: Sequence[Mapping],
    classes: Collection[str],
) -> dict[str, np.ndarray]:
    """Why mmdet does not train on annotations: for each reason which do not count for it, ``(N, )``, each for one only.

    Args:
        annotations (Sequence[Mapping]): The annotations, N.
        boxes (np.ndarray): Their x, y, width, height and area, ``(N, 5)``.
        sizes (np.ndarray): Width and height of their images, ``(N, 2)``; NaN where the file does not list them.
        categories (Sequence[Mapping]): The categories of the file.
        classes (Collection[str]): The names of those that are trained.
    """
    listed = {category['id'] for category in categories}
    chosen = {category['id'] for category in categories if category['name'] in classes}
    x, y, width, height, area = boxes.T
    outside = (x >= sizes[:, 0]) | (y >= sizes[:, 1]) | (x + width <= 0) | (y + height <= 0)
    found = {
        'of images that the file does not list': np.isnan(sizes).any(1),
        'of categories that the file does not list': which(annotations, lambda one: one['category_id'] not in listed),
        'of classes that the config does not have': which(annotations, lambda one: one['category_id'] not in chosen),
        'marked to be ignored': which(annotations, lambda one: one.get('ignore')),
        'boxes of less than a pixel': (width < 1) | (height < 1) | (area <= 0),
        'boxes outside of their images': outside,
        'crowds': which(annotations, lambda one: one.get('iscrowd')),
    }
    rest = np.ones(len(annotations), bool)
    for reason, mask in found.items():
        found[reason] = mask & rest
        rest &= ~mask
    return found


def which(annotations: Sequence[Mapping], condition: Callable[[Mapping], object]) -> np.ndarray:
    """Which annotations meet a condition, ``(N, )``."""
    return np.fromiter((bool(condition(one)) for one in annotations), bool, len(annotations))


def suspicious(
    images: Sequence[Mapping], annotations: Sequence[Mapping], counted: np.ndarray, boxes: np.ndarray, sizes: np.ndarray
) -> Iterator[str]:
    """What may be meant, but mostly is not: images without boxes or named twice, boxes that reach out of their images."""
    with_boxes = {one['image_id'] for one, counts in zip(annotations, counted, strict=True) if counts}
    empty = [image['file_name'] for image in images if image['id'] not in with_boxes]
    if empty:
        yield f'{len(empty):,} of {len(images):,} images have no box that counts (first: {empty[0]})'
    starts, ends = boxes[:, :2], boxes[:, :2] + boxes[:, 2:4]
    outside = counted & ((starts < -ROUNDED) | (ends > sizes + ROUNDED)).any(1)
    if outside.any():
        yield (
            f'{outside.sum():,} of {counted.sum():,} boxes reach out of their images (first: '
            f'{named(annotations[outside.argmax()])})'
        )
    names = Counter(image['file_name'] for image in images)
    twice = [name for name, count in names.items() if count > 1]
    if twice:
        yield f'{len(twice):,} of {len(names):,} file names are those of several images (first: {twice[0]})'


def named(annotation: Mapping) -> str:
    """An annotation, for messages."""
    return f'annotation {annotation["id"]}, image {annotation["image_id"]}, category {annotation["category_id"]}'
