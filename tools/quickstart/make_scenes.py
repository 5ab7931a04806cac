#!/usr/bin/env python
"""Compose scenes of real digits on real photographs, as a COCO-format detection set and a mask-format segmentation set.

Writes OUT/{train,test}/*.png (images), OUT/{train,test}.json (boxes) and OUT/{train,test}_masks/*.png (0 is background,
other values are the digit + 1).
"""

import argparse
import json
from pathlib import Path

import cv2
import numpy as np
from make_digits import split
from sklearn.datasets import load_digits, load_sample_images

from mixskd_mm.checkpoints.write import write_image, write_text
from mixskd_mm.cli import exit_on_input_error

DIGITS_A_SCENE = (1, 3)
DIGIT_SIZE = (16, 26)  # pixels


def place(occupied: np.ndarray, size: int, rng: np.random.Generator) -> tuple[int, int] | None:
    """A random corner (x, y) of a free square of ``size`` in ``occupied`` ``(H, W)``, or None after some tries."""
    height, width = occupied.shape
    for _ in range(50):
        x, y = rng.integers(width - size + 1), rng.integers(height - size + 1)
        if not occupied[y : y + size, x : x + size].any():
            return int(x), int(y)
    return None


def compose(
    background: np.ndarray, digits: np.ndarray, labels: np.ndarray, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray, list[tuple[int, list[int]]]]:
    """Draw digits in random colours and sizes onto a photograph.

    Args:
        background (np.ndarray): ``(H, W, 3)``, uint8.
        digits (np.ndarray): Candidates ``(N, 8, 8)``, 0 to 16.
        labels (np.ndarray): Their classes ``(N, )``.
        rng (np.random.Generator): Where the randomness comes from.

    Returns:
        The image, its mask ``(H, W)`` (0 background, digit + 1) and the boxes as (digit, [x, y, width, height]).
    """
    image, mask, boxes = background.astype(np.float32), np.zeros(background.shape[:2], np.uint8), []
    occupied = np.zeros(background.shape[:2], bool)
    for _ in range(rng.integers(DIGITS_A_SCENE[0], DIGITS_A_SCENE[1] + 1)):
        size = int(rng.integers(DIGIT_SIZE[0], DIGIT_SIZE[1] + 1))
        corner = place(occupied, size, rng)
        if corner is None:
            continue
        x, y = corner
        chosen = rng.integers(len(digits))
        ink = cv2.resize(digits[chosen].astype(np.float32) / 16, (size, size), interpolation=cv2.INTER_CUBIC).clip(0, 1)
        colour = rng.uniform(160, 255, 3)
        area = np.s_[y : y + size, x : x + size]
        image[area] = ink[..., None] * colour + (1 - ink[..., None]) * 0.3 * image[area]
        drawn = ink > 0.4
        mask[area][drawn] = labels[chosen] + 1
        occupied[area] = True
        rows, columns = np.flatnonzero(drawn.any(axis=1)), np.flatnonzero(drawn.any(axis=0))
        box = [x + columns[0], y + rows[0], columns[-1] - columns[0] + 1, rows[-1] - rows[0] + 1]
        boxes.append((int(labels[chosen]), [int(value) for value in box]))
    return image.clip(0, 255).astype(np.uint8), mask, boxes


def crop(photo: np.ndarray, size: int, rng: np.random.Generator) -> np.ndarray:
    """A random square of ``size`` pixels of ``photo``."""
    y, x = (rng.integers(length - size + 1) for length in photo.shape[:2])
    return photo[y : y + size, x : x + size]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('out', type=Path, help='folder to write')
    parser.add_argument('--train', type=int, default=96, help='training scenes (default: 96)')
    parser.add_argument('--test', type=int, default=48, help='test scenes (default: 48)')
    parser.add_argument('--size', type=int, default=64, help='width and height in pixels (default: 64)')
    parser.add_argument('--seed', type=int, default=0, help='composes the scenes (default: 0)')
    args = parser.parse_args()

    data, photos = load_digits(), [photo[..., ::-1] for photo in load_sample_images().images]
    # The digits that the classifiers train on appear in training scenes only.
    in_train = split(data.target, per_class=20, seed=0)
    rng = np.random.default_rng(args.seed)
    for name, count, chosen in (('train', args.train, in_train), ('test', args.test, ~in_train)):
        images, annotations = [], []
        for i in range(count):
            background = crop(photos[i % len(photos)], args.size, rng)
            image, mask, boxes = compose(background, data.images[chosen], data.target[chosen], rng)
            file = f'{i:04d}.png'
            write_image(str(args.out / name / file), image, flush=False)
            write_image(str(args.out / f'{name}_masks' / file), mask, flush=False)
            images.append(dict(id=i, file_name=file, width=args.size, height=args.size))
            for digit, box in boxes:
                number = len(annotations) + 1
                area = box[2] * box[3]
                annotations.append(dict(id=number, image_id=i, category_id=digit, bbox=box, area=area, iscrowd=0))
        categories = [dict(id=digit, name=str(digit)) for digit in range(10)]
        coco = dict(images=images, annotations=annotations, categories=categories)
        write_text(str(args.out / f'{name}.json'), json.dumps(coco))
    print(f'{args.out}: {args.train} training and {args.test} test scenes of {args.size} x {args.size} pixels')


if __name__ == '__main__':
    exit_on_input_error(main)
