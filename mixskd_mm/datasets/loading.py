"""Name the file of an image that cannot be read."""

from __future__ import annotations

import cv2
from mmpretrain.datasets import transforms
from mmpretrain.registry import TRANSFORMS

from mixskd_mm.errors import InputError


@TRANSFORMS.register_module(force=True)
class LoadImageFromFile(transforms.LoadImageFromFile):
    """mmcv's transform, which names an undecodable file, but lets OpenCV complain of an empty one without its name.

    Raises:
        InputError: naming the file.
    """

    def transform(self, results: dict) -> dict | None:
        try:
            return super().transform(results)
        except cv2.error as error:
            raise InputError(f'failed to load image: {results["img_path"]}: expected a readable image') from error
