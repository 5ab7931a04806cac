"""AutoAugment's CIFAR-10 policy, which mmpretrain does not have."""

from __future__ import annotations

import numpy as np
from mmcv.transforms import BaseTransform
from mmpretrain.registry import TRANSFORMS
from PIL import Image
from torchvision.transforms import AutoAugment, AutoAugmentPolicy


@TRANSFORMS.register_module()
class CIFARAutoAugment(BaseTransform):
    """torchvision's AutoAugment with the 25 sub-policies found on CIFAR-10, which CIFAR-100 uses too.

    Replaces ``img``, an RGB image ``(H, W, 3)`` of type uint8, by one of the same shape and type.
    """

    def __init__(self) -> None:
        self.augment = AutoAugment(AutoAugmentPolicy.CIFAR10)

    def transform(self, results: dict) -> dict:
        results['img'] = np.array(self.augment(Image.fromarray(results['img'])))
        return results
