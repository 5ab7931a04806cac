"""A small part of CIFAR-100, with smaller images, which two CPU cores train on in minutes."""

from __future__ import annotations

from collections import Counter

import numpy as np
from mmpretrain.datasets import CIFAR100
from mmpretrain.registry import DATASETS

from mixskd_mm.errors import InputError


@DATASETS.register_module()
class ReducedCIFAR100(CIFAR100):
    """CIFAR-100 with the first images of each class, each reduced by averaging.

    The order is that of the archive, so everybody has the same images. With the defaults the images are 16 x 16.

    Args:
        images_per_class (int, optional): How many images of each class to take, 1 to 500 when training and to 100 when
            testing. Defaults to None: all.
        skip_per_class (int): How many images of each class to leave out before those. A validation split skips the
            training images. Defaults to 0.
        pool (int): A divisor of 32: each square of ``pool`` x ``pool`` pixels becomes its mean. Defaults to 2.
        **kwargs: Those of mmpretrain's ``CIFAR100``.

    Raises:
        InputError: if a value above is outside its range.
    """

    def __init__(
        self, *args, images_per_class: int | None = None, skip_per_class: int = 0, pool: int = 2, **kwargs
    ) -> None:
        if images_per_class is not None and (type(images_per_class) is not int or images_per_class < 1):
            raise InputError(f'ReducedCIFAR100 images_per_class={images_per_class!r}: expected at least 1, or None')
        if type(skip_per_class) is not int or skip_per_class < 0:
            raise InputError(f'ReducedCIFAR100 skip_per_class={skip_per_class!r}: expected a number >= 0')
        if type(pool) is not int or pool < 1 or 32 % pool:
            raise InputError(f'ReducedCIFAR100 pool={pool!r}: expected a divisor of 32')
        self.images_per_class = images_per_class
        self.skip_per_class = skip_per_class
        self.pool = pool
        super().__init__(*args, **kwargs)

    def load_data_list(self) -> list[dict]:
        """What mmpretrain loads, reduced."""
        last = np.inf if self.images_per_class is None else self.skip_per_class + self.images_per_class
        seen, reduced = Counter(), []
        for sample in super().load_data_list():
            label = int(sample['gt_label'])
            if self.skip_per_class <= seen[label] < last:
                reduced.append(dict(sample, img=average(sample['img'], self.pool)))
            seen[label] += 1
        fewest = min(seen.values(), default=0)
        if fewest < (self.skip_per_class + 1 if self.images_per_class is None else last):
            raise InputError(
                f'ReducedCIFAR100 images_per_class={self.images_per_class}, skip_per_class={self.skip_per_class}: '
                f'{self.data_prefix["root"]} has {fewest} images of a class in {self.split!r}'
            )
        return reduced


def average(image: np.ndarray, size: int) -> np.ndarray:
    """Mean of each square of ``size`` x ``size`` pixels, rounded half to even: ``(H, W, C)`` to ``(H / size, W / size, C)``."""
    height, width, channels = image.shape
    squares = image.reshape(height // size, size, width // size, size, channels)
    return np.rint(squares.mean(axis=(1, 3))).astype(image.dtype)
