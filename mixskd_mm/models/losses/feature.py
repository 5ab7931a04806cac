"""Feature self-distillation, Eq. (7)."""

from __future__ import annotations

import torch.nn.functional as F
from mmpretrain.registry import MODELS
from torch import Tensor, nn

from .precision import full_precision


def feature_loss(interpolated: Tensor, mixed: Tensor) -> Tensor:
    """1/(HWC) ||F~_k - F_k(x~)||^2, mean over the batch: one k of MixSKD, Eq. (7).

    Mutual: gradients flow into both arguments.

    Args:
        interpolated (Tensor): F~_k(x_i, x_j), the interpolation of the clean images' maps, ``(N, C, H, W)``.
        mixed (Tensor): F_k(x~_ij), the mixed images' maps, same shape.
    """
    return F.mse_loss(full_precision(interpolated), full_precision(mixed))


@MODELS.register_module()
class FeatureLoss(nn.Module):
    """:func:`feature_loss` as a module."""

    def forward(self, interpolated: Tensor, mixed: Tensor) -> Tensor:
        return feature_loss(interpolated, mixed)
