"""Images that are loaded in another size or orientation than their annotations have."""

from __future__ import annotations

import os
from collections.abc import Sequence

import cv2
import numpy as np
from PIL import Image
from PIL.ExifTags import Base

from mixskd_mm.errors import InputError

from .class_names import describe
from .skipped_files import steps


def stored_orientation(path: str) -> int:
    """The EXIF orientation of an image, 1 to 8; 1 (as stored) if it has none or is no local image that can be opened.

    2 to 4 mirror the image or turn it by 180 degrees, 5 to 8 also exchange width and height.
    """
    if not os.path.isfile(path):
        return 1
    try:
        with Image.open(path) as image:
            return image.getexif().get(Base.Orientation, 1)
    # It may be damaged, which whoever loads it says.
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError):
        return 1


def turned(path: str, image: np.ndarray) -> bool:
    """Whether an image was turned or mirrored when it was loaded, as its EXIF data say; not all decoders do.

    Args:
        path (str): Its file.
        image (np.ndarray): The image as loaded, ``(H, W, 3)`` in BGR.
    """
    if stored_orientation(path) not in range(2, 9):
        return False
    stored = cv2.imread(path, cv2.IMREAD_COLOR | cv2.IMREAD_IGNORE_ORIENTATION)
    return stored is not None and not np.array_equal(stored, image)


def turned_notice(number: int, looked_at: int, first: str) -> str:
    """A line about images that are turned, of those that were looked at."""
    return (
        f'{number:,} of {looked_at:,} images are turned or mirrored when they are loaded, by their EXIF orientation (first: '
        f'{first}, {stored_orientation(first)}): expected boxes and label maps of the image as it is seen'
    )


def size_problem(image: str, shape: Sequence[int], expected: Sequence[int], source: str) -> str | None:
    """A line if an image is not loaded as large as its annotation says.

    Args:
        image (str): Its file.
        shape (Sequence[int]): Height and width as loaded.
        expected (Sequence[int]): Height and width that the annotation has.
        source (str): What the annotation is, for the message.
    """
    if tuple(shape) == tuple(expected):
        return None
    return f'{image} is {size(shape)}{by_orientation(image)}: expected {size(expected)}, as {source}'


def by_orientation(image: str) -> str:
    """What to say after the size of an image whose width and height are exchanged when it is loaded."""
    orientation = stored_orientation(image)
    return f' by its EXIF orientation {orientation}' if orientation in range(5, 9) else ''


def size(shape: Sequence[int]) -> str:
    """Width and height of a shape ``(height, width)``."""
    return f'{shape[1]} x {shape[0]}'


def is_loader(step) -> bool:
    """Whether a transform reads the image from its file."""
    return type(step).__name__ == 'LoadImageFromFile'


def spread(number: int, samples: int) -> list[int]:
    """Evenly spaced indices of a data set of that number of images, at most ``samples``, first and last among them."""
    return np.unique(np.linspace(0, number - 1, min(samples, number)).astype(int)).tolist()


def check_image_sizes(dataset, samples: int = 16) -> str | None:
    """Load evenly spaced images of a detection or segmentation data set and compare their sizes with their annotations.

    Args:
        dataset: mmdet's or mmseg's, with its pipeline.
        samples (int): How many to look at. Defaults to 16.

    Returns:
        str | None: A notice if some are turned by their EXIF orientation, which their annotations must follow.

    Raises:
        InputError: naming the first image of another size.
    """
    loader = next((step for step in steps(dataset) if is_loader(step)), None)
    chosen = spread(len(dataset), samples)
    found = []
    for index in chosen if loader else []:
        info = dataset.get_data_info(index)
        expected, source = annotated_size(info)
        if expected is None:
            continue
        path, loaded = info['img_path'], loader(info)
        if loaded is None:
            # With ignore_empty.
            continue
        image = loaded['img']
        problem = size_problem(path, image.shape[:2], expected, source)
        if problem:
            raise InputError(problem)
        if turned(path, image):
            found.append(path)
    return f'{describe(dataset)}: {turned_notice(len(found), len(chosen), found[0])}' if found else None


def annotated_size(info: dict) -> tuple[tuple[int, int] | None, str]:
    """Height and width that the annotation of an image has, if it has one, and what it is."""
    if None not in (info.get('height'), info.get('width')):
        return (info['height'], info['width']), 'its annotation says'
    path = info.get('seg_map_path')
    if not path or not os.path.isfile(path):
        return None, ''
    try:
        with Image.open(path) as labels:
            return labels.size[::-1], f'its label map {path}'
    # As above.
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError):
        return None, ''
