"""PS-KD: Self-Knowledge Distillation with Progressive Refinement of Targets (Kim et al., ICCV 2021)."""

from __future__ import annotations

import torch.nn.functional as F
from mmpretrain.registry import MODELS
from torch import Tensor, nn

from .classification import soft_cross_entropy
from .precision import full_precision


def ps_kd_alpha(epoch: int, max_epochs: int, last_alpha: float = 0.8) -> float:
    """alpha_t = alpha_T t / T, which grows linearly to alpha_T in the last epoch.

    Args:
        epoch (int): t - 1, counted from 0.
        max_epochs (int): T.
        last_alpha (float): alpha_T, in [0, 1]. Defaults to 0.8.
    """
    return last_alpha * (epoch + 1) / max_epochs


def ps_kd_targets(labels: Tensor, previous: Tensor, alpha: float | Tensor) -> Tensor:
    """(1 - alpha_t) y + alpha_t P_{t-1}(x): soft targets of epoch t.

    Args:
        labels (Tensor): Class indices y, ``(N, )``.
        previous (Tensor): Probabilities that the network gave these images in the epoch before, ``(N, C)``; detached here.
            In the first epoch there are none: the one-hot labels take their place.
        alpha (float | Tensor): alpha_t in [0, 1], 0-d as a tensor.

    Returns:
        Tensor: ``(N, C)``; each row sums to 1.
    """
    previous = full_precision(previous.detach())
    one_hot = F.one_hot(labels, previous.shape[1]).to(previous.dtype)
    return (1 - alpha) * one_hot + alpha * previous


@MODELS.register_module()
class PSKDLoss(nn.Module):
    """Cross-entropy against :func:`ps_kd_targets`; the labels' own cross-entropy is a part of it."""

    def forward(self, logits: Tensor, labels: Tensor, previous: Tensor, alpha: float | Tensor) -> Tensor:
        return soft_cross_entropy(logits, ps_kd_targets(labels, previous, alpha))
