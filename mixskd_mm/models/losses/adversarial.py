"""The discriminator loss, Eq. (8)."""

from __future__ import annotations

import torch.nn.functional as F
from mmpretrain.registry import MODELS
from torch import Tensor, nn

from .precision import full_precision


def discriminator_loss(interpolated: Tensor, mixed: Tensor) -> Tensor:
    """-log D_k(F~_k) - log(1 - D_k(F_k(x~))), mean over the batch: one k of MixSKD, Eq. (8).

    Written with log sigmoid(z) = -softplus(-z) and log(1 - sigmoid(z)) = -softplus(z), finite for any logit. With the
    release's two logits the second one has the opposite target, and the two sum up.

    Args:
        interpolated (Tensor): Logits of D_k on interpolated features, ``(N, 1)`` or ``(N, 2)``.
        mixed (Tensor): Logits of D_k on the mixed images' features, same shape.
    """
    interpolated, mixed = full_precision(interpolated), full_precision(mixed)
    loss = F.softplus(-interpolated[:, 0]) + F.softplus(mixed[:, 0])
    if interpolated.shape[1] == 2:
        loss = loss + F.softplus(interpolated[:, 1]) + F.softplus(-mixed[:, 1])
    return loss.mean()


@MODELS.register_module()
class DiscriminatorLoss(nn.Module):
    """:func:`discriminator_loss` as a module."""

    def forward(self, interpolated: Tensor, mixed: Tensor) -> Tensor:
        return discriminator_loss(interpolated, mixed)
