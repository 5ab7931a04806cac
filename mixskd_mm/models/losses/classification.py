"""Cross-entropy against labels, interpolated labels (MixSKD, Eq. 5, last term, and Eq. 11) and soft targets."""

from __future__ import annotations

import torch.nn.functional as F
from mmpretrain.registry import MODELS
from torch import Tensor, nn

from ..mixing import Mixture
from .precision import full_precision


def mixed_cross_entropy(logits: Tensor, labels: Tensor, mixture: Mixture) -> Tensor:
    """L_ce(sigma(z), y~) with y~ = lam y_i + (1 - lam) y_j (MixSKD, Eq. 4), mean over the batch.

    Cross-entropy is linear in the label, so the loss itself is interpolated and no soft label is built.

    Args:
        logits (Tensor): z, shape ``(N, C)``.
        labels (Tensor): Class indices y_i of the clean images, shape ``(N, )``.
        mixture (Mixture): Its ``lam`` and ``index`` made the images of ``logits``.
    """
    log_p = F.log_softmax(full_precision(logits), dim=1)
    ce_i = F.nll_loss(log_p, labels, reduction='none')
    ce_j = F.nll_loss(log_p, labels[mixture.index], reduction='none')
    return (mixture.lam * ce_i + (1 - mixture.lam) * ce_j).mean()


def cross_entropy(logits: Tensor, labels: Tensor) -> Tensor:
    """L_ce(sigma(z), y) of clean images, mean over the batch; ``logits`` ``(N, C)``, ``labels`` ``(N, )``."""
    return F.cross_entropy(full_precision(logits), labels)


def soft_cross_entropy(logits: Tensor, targets: Tensor) -> Tensor:
    """-sum_c q_c log sigma(z)_c, mean over the batch.

    Args:
        logits (Tensor): z, shape ``(N, C)``.
        targets (Tensor): q >= 0, shape ``(N, C)``; detached here.
    """
    log_p = F.log_softmax(full_precision(logits), dim=1)
    return -(full_precision(targets.detach()) * log_p).sum(dim=1).mean()


@MODELS.register_module()
class MixedCrossEntropyLoss(nn.Module):
    """:func:`mixed_cross_entropy` as a module."""

    def forward(self, logits: Tensor, labels: Tensor, mixture: Mixture) -> Tensor:
        return mixed_cross_entropy(logits, labels, mixture)
