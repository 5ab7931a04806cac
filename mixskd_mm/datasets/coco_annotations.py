"""COCO annotation files: what cannot be, which boxes do not count, and how many."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass

from mixskd_mm.errors import InputError

FIELDS = dict(
    categories=('id', 'name'),
    images=('id', 'file_name', 'width', 'height'),
    annotations=('id', 'image_id', 'category_id', 'bbox', 'area'),
)
# Boxes of hidden parts reach out of their image, but none as far as this many times its size.
FAR = 100
# In pixels: where boxes were rounded, or count from 1.
ROUNDED = 2


@dataclass(frozen=True)
class CocoAnnotations:
    """What is known of an annotation file that was read.

    Attributes:
        file (str): The file.
        categories (list[dict]): Its categories, in its order, with ``id`` and ``name``.
        images (dict): The file names of its images, by their ids.
        annotations (int): How many annotations it has.
        boxes (int): How many of them mmdet trains on.
        notices (tuple[str, ...]): What is suspicious, a line each, with numbers.
    """

    file: str
    categories: list[dict]
    images: dict[int | str, str]
    annotations: int
    boxes: int
    notices: tuple[str, ...]


def inspect_annotations(content: object, file: str, classes: Collection[str]) -> CocoAnnotations:
    """Look at all images, categories and boxes of an annotation file.

    Args:
        content: What the file holds, parsed.
        file (str): Its name, for messages.
        classes (Collection[str]): The names of the classes that are trained or tested.

    Raises:
        InputError: for what cannot be: fields that are missing, ids that are there twice, numbers that are not finite or
            far outside of the image, annotations of which none counts.
    """
    categories, images = parts(content, 'categories', file), parts(content, 'images', file)
    # A list of images to predict on has none.
    annotations = parts(content, 'annotations', file) if 'annotations' in content else []
    by_id = {image['id']: image for image in images}
    check_images(images, file)
    check_boxes(annotations, by_id, file)
    listed = {category['id'] for category in categories}
    chosen = {category['id'] for category in categories if category['name'] in classes}
    reasons = [not_counted(one, by_id.get(one['image_id']), listed, chosen) for one in annotations]
    boxes = reasons.count(None)
    lines = list(described(reasons, annotations))
    if annotations and not boxes:
        raise InputError(
            f'{file} has {len(annotations):,} annotations, and none counts ({"; ".join(lines)}): expected boxes of at '
            'least a pixel in its images, of the classes in metainfo.classes'
        )
    notices = [f'of {len(annotations):,} annotations {line}' for line in lines]
    notices += suspicious(images, annotations, reasons, by_id)
    return CocoAnnotations(
        file,
        categories,
        {image['id']: image['file_name'] for image in images},
        len(annotations),
        boxes,
        tuple(f'{file}: {notice}' for notice in notices),
    )


def annotation_notices(dataset) -> tuple[str, ...]:
    """What is suspicious in the annotations of a data set, a line each; none if it has no COCO file."""
    found = getattr(dataset, 'coco_annotations', None)
    return () if found is None else found.notices


def parts(content: object, name: str, file: str) -> list[dict]:
    """One list of the file. Raises InputError unless its elements have all fields, and ids of their own."""
    found = content.get(name) if isinstance(content, Mapping) else None
    if not isinstance(found, list) or not all(isinstance(part, Mapping) for part in found):
        raise InputError(f'{file} has no list of {name}: expected COCO annotations')
    for field in FIELDS[name]:
        lacking = [i for i, part in enumerate(found) if field not in part]
        if lacking:
            raise InputError(
                f'{file}: {len(lacking):,} of {len(found):,} {name} have no {field} (first: {name}[{lacking[0]}]): expected '
                f'{", ".join(FIELDS[name])}'
            )
        strange = [part[field] for part in found if 'id' in field and not isinstance(part[field], int | str)]
        if strange:
            raise InputError(f'{file}: {name} have {field} {strange[0]!r}: expected a whole number')
    twice = [number for number, count in Counter(part['id'] for part in found).items() if count > 1]
    if twice:
        raise InputError(
            f'{file}: {len(twice):,} ids of {name} are there several times (first: {twice[0]}): expected different ids'
        )
    return found


def check_images(images: Sequence[Mapping], file: str) -> None:
    """Raise InputError for an image whose name is no text or whose size is no number of pixels."""
    for image in images:
        if not isinstance(image['file_name'], str) or not image['file_name']:
            raise InputError(f'{file}: image {image["id"]} has file_name {image["file_name"]!r}: expected a name')
        if not all(is_finite(image[side]) and image[side] > 0 for side in ('width', 'height')):
            raise InputError(
                f'{file}: image {image["id"]} ({image["file_name"]}) is {image["width"]} x {image["height"]}: expected '
                'numbers of pixels'
            )


def check_boxes(annotations: Sequence[Mapping], images: Mapping, file: str) -> None:
    """Raise InputError if boxes have numbers that cannot be, with how many and the first."""
    wrong = [one for one in annotations if not is_box(one, images.get(one['image_id']))]
    if wrong:
        raise InputError(
            f'{file}: {len(wrong):,} of {len(annotations):,} annotations have numbers that cannot be (first: annotation '
            f'{wrong[0]["id"]} with bbox {wrong[0]["bbox"]} and area {wrong[0]["area"]}): expected finite x, y, width and '
            'height, in pixels of the image'
        )


def is_box(annotation: Mapping, image: Mapping | None) -> bool:
    """Whether ``bbox`` is four finite numbers, not far from its image, and ``area`` a finite one."""
    box = annotation['bbox']
    if not isinstance(box, list | tuple) or len(box) != 4 or not all(map(is_finite, (*box, annotation['area']))):
        return False
    return image is None or max(map(abs, box)) <= FAR * max(image['width'], image['height'])


def is_finite(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def not_counted(annotation: Mapping, image: Mapping | None, listed: Collection, chosen: Collection) -> str | None:
    """Why mmdet does not train on a box, or None if it does.

    Args:
        annotation (Mapping): The annotation, with a box of finite numbers.
        image (Mapping, optional): Its image; None if the file has none of that id.
        listed (Collection): The ids of the categories of the file.
        chosen (Collection): Those of the classes that the config has.
    """
    if image is None:
        return 'are of images that the file does not list'
    if annotation['category_id'] not in listed:
        return 'are of categories that the file does not list'
    if annotation['category_id'] not in chosen:
        return 'are of classes that the config does not have'
    if annotation.get('ignore'):
        return 'are ignored'
    x, y, width, height = annotation['bbox']
    if width < 1 or height < 1 or annotation['area'] <= 0:
        return 'are boxes of less than a pixel'
    if x >= image['width'] or y >= image['height'] or x + width <= 0 or y + height <= 0:
        return 'are boxes outside of their image'
    return 'are crowds' if annotation.get('iscrowd') else None


def described(reasons: Sequence[str | None], annotations: Sequence[Mapping]) -> Iterator[str]:
    """How many annotations there are of each reason not to count, and the first."""
    for reason, count in Counter(filter(None, reasons)).items():
        first = annotations[reasons.index(reason)]
        yield (
            f'{count:,} {reason} (first: annotation {first["id"]} of image {first["image_id"]}, category '
            f'{first["category_id"]})'
        )


def suspicious(
    images: Sequence[Mapping], annotations: Sequence[Mapping], reasons: Sequence[str | None], by_id: Mapping
) -> Iterator[str]:
    """What may be meant, but mostly is not: images without boxes or named twice, boxes that reach out of their image."""
    counted = [one for one, reason in zip(annotations, reasons, strict=True) if reason is None]
    with_boxes = {one['image_id'] for one in counted}
    empty = [image['file_name'] for image in images if image['id'] not in with_boxes]
    if empty:
        yield f'{len(empty):,} of {len(images):,} images have no box that counts (first: {empty[0]})'
    outside = [one for one in counted if reaches_out(one['bbox'], by_id[one['image_id']])]
    if outside:
        first = outside[0]
        yield (
            f'{len(outside):,} of {len(counted):,} boxes reach out of their image (first: annotation {first["id"]} of '
            f'image {first["image_id"]})'
        )
    names = Counter(image['file_name'] for image in images)
    twice = [name for name, count in names.items() if count > 1]
    if twice:
        yield f'{len(twice):,} of {len(names):,} file names are those of several images (first: {twice[0]})'


def reaches_out(box: Sequence[float], image: Mapping) -> bool:
    """Whether a box has corners outside of its image, by more than rounding."""
    x, y, width, height = box
    return min(x, y) < -ROUNDED or x + width > image['width'] + ROUNDED or y + height > image['height'] + ROUNDED
