"""DDGSD: Data-Distortion Guided Self-Distillation for Deep Neural Networks (Xu and Liu, AAAI 2019)."""

from __future__ import annotations

from mmpretrain.registry import MODELS
from torch import Tensor, nn

from .precision import full_precision


def mmd_loss(features_a: Tensor, features_b: Tensor, released: bool = False) -> Tensor:
    """||mean_n h_a - mean_n h_b||_2^2, the maximum mean discrepancy of two distorted views with a linear kernel.

    Mutual: gradients flow into both arguments.

    Args:
        features_a (Tensor): Pooled features of the first view of each image, ``(N, D)``.
        features_b (Tensor): Those of the second view, same shape.
        released (bool): Average over the D channels, too, as the MixSKD authors' release does: the squared difference of
            two numbers. Defaults to False.
    """
    difference = full_precision(features_a).mean(dim=0) - full_precision(features_b).mean(dim=0)
    if released:
        return difference.mean() ** 2
    return (difference**2).sum()


@MODELS.register_module()
class MMDLoss(nn.Module):
    """:func:`mmd_loss` as a module.

    Args:
        released (bool): As in :func:`mmd_loss`. Defaults to False.
    """

    def __init__(self, released: bool = False) -> None:
        super().__init__()
        self.released = released

    def forward(self, features_a: Tensor, features_b: Tensor) -> Tensor:
        return mmd_loss(features_a, features_b, self.released)
