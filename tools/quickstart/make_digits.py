#!/usr/bin/env python
"""Write scikit-learn's handwritten digits as a folder data set: OUT/train/<digit>/*.png and OUT/test/<digit>/*.png."""

import argparse
from pathlib import Path

import cv2
import numpy as np
from sklearn.datasets import load_digits

from mixskd_mm.checkpoints.write import write_image
from mixskd_mm.cli import exit_on_input_error


def split(labels: np.ndarray, per_class: int, seed: int) -> np.ndarray:
    """True for ``per_class`` randomly chosen samples of each class, shape ``(N, )``."""
    rng = np.random.default_rng(seed)
    train = np.zeros(len(labels), dtype=bool)
    for digit in range(10):
        train[rng.permutation(np.flatnonzero(labels == digit))[:per_class]] = True
    return train


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('out', type=Path, help='folder to write')
    parser.add_argument(
        '--per-class', type=int, default=20, help='training images per class (default: 20); the rest tests'
    )
    parser.add_argument('--size', type=int, default=16, help='width and height in pixels (default: 16)')
    parser.add_argument('--seed', type=int, default=0, help='chooses the training images (default: 0)')
    args = parser.parse_args()

    digits = load_digits()  # 1,797 images of 8 x 8 pixels, values 0 to 16
    train = split(digits.target, args.per_class, args.seed)
    for i, (image, label) in enumerate(zip(digits.images, digits.target, strict=True)):
        pixels = np.clip(image * (255 / 16), 0, 255).astype(np.uint8)
        pixels = cv2.resize(pixels, (args.size, args.size), interpolation=cv2.INTER_CUBIC)
        folder = args.out / ('train' if train[i] else 'test') / str(label)
        write_image(str(folder / f'{i:04d}.png'), pixels, flush=False)
    print(f'{args.out}: {train.sum()} training and {(~train).sum()} test images of {args.size} x {args.size} pixels')


if __name__ == '__main__':
    exit_on_input_error(main)
