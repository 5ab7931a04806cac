"""FRSKD: Refine Myself by Teaching Myself, Feature Refinement via Self-Knowledge Distillation (Ji et al., CVPR 2021)."""

from __future__ import annotations

import torch.nn.functional as F
from mmpretrain.registry import MODELS
from torch import Tensor, nn

from .precision import full_precision


def normalized_map(features: Tensor) -> Tensor:
    """q(F): mean of the squares over channels, flattened, with an L2 norm of 1 for each image.

    Args:
        features (Tensor): ``(N, C, H, W)``.

    Returns:
        Tensor: ``(N, H W)``.
    """
    return F.normalize((full_precision(features) ** 2).mean(dim=1).flatten(1), dim=1)


def frskd_feature_loss(student: Tensor, teacher: Tensor) -> Tensor:
    """Mean of (q(F_i) - q(T_i))^2 over the batch and the pixels: one level i of FRSKD's feature distillation.

    Args:
        student (Tensor): The backbone's map F_i, ``(N, C, H, W)``.
        teacher (Tensor): The self-teacher's map T_i, ``(N, C', H, W)``; detached here.
    """
    return F.mse_loss(normalized_map(student), normalized_map(teacher.detach()))


@MODELS.register_module()
class FRSKDFeatureLoss(nn.Module):
    """:func:`frskd_feature_loss` as a module."""

    def forward(self, student: Tensor, teacher: Tensor) -> Tensor:
        return frskd_feature_loss(student, teacher)
