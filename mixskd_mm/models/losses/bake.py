"""BAKE: Self-distillation with Batch Knowledge Ensembling Improves ImageNet Classification (Ge et al., 2021)."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from mmpretrain.registry import MODELS
from torch import Tensor, nn

from mixskd_mm.errors import InputError, check_number

from .distillation import kd_loss, kl_loss
from .precision import full_precision, without_autocast


@torch.no_grad()
def knowledge_ensemble(logits: Tensor, features: Tensor, temperature: float, omega: float) -> Tensor:
    """Q = (1 - omega) (I - omega W)^-1 sigma(logits / T): predictions, propagated over the batch without end.

    W is the softmax, over the other images of the batch, of the cosine similarity of the features. No gradient.

    Args:
        logits (Tensor): ``(N, C)``.
        features (Tensor): Pooled features, ``(N, D)``.
        temperature (float): T > 0.
        omega (float): Share of the other images at each step, in [0, 1). 0 gives the predictions themselves.

    Returns:
        Tensor: Probabilities, ``(N, C)``.
    """
    predictions = (full_precision(logits) / temperature).softmax(dim=1)
    features = F.normalize(full_precision(features), dim=1)
    with without_autocast(features.device):
        similarity = features @ features.T
    identity = torch.eye(len(features), dtype=features.dtype, device=features.device)
    # Finite, so that the only image of a batch keeps its own prediction.
    affinity = (similarity - 1e9 * identity).softmax(dim=1)
    # Rows of omega W sum to less than 1, so the matrix is regular and nothing needs to be checked on the host.
    ensemble, _ = torch.linalg.solve_ex(identity - omega * affinity, (1 - omega) * predictions)
    return ensemble


def bake_loss(
    logits: Tensor, features: Tensor, temperature: float = 4.0, omega: float = 0.5, released: bool = False
) -> Tensor:
    """T^2 KL(Q || sigma(logits / T)), sum over classes, mean over the batch; Q is :func:`knowledge_ensemble`.

    Args:
        logits (Tensor): ``(N, C)``.
        features (Tensor): Pooled features, ``(N, D)``; they get no gradient.
        temperature (float): T > 0. Defaults to 4.0.
        omega (float): In [0, 1). Defaults to 0.5.
        released (bool): Take sigma(Q / T) for Q, as the MixSKD authors' release does: almost the uniform distribution.
            Defaults to False.
    """
    ensemble = knowledge_ensemble(logits, features, temperature, omega)
    if released:
        return kd_loss(logits, ensemble, temperature)
    return temperature**2 * kl_loss(full_precision(logits) / temperature, ensemble)


@MODELS.register_module()
class BAKELoss(nn.Module):
    """:func:`bake_loss` as a module.

    Args:
        temperature (float): T > 0. Defaults to 4.0.
        omega (float): In [0, 1). Defaults to 0.5.
        released (bool): As in :func:`bake_loss`. Defaults to False.
    """

    def __init__(self, temperature: float = 4.0, omega: float = 0.5, released: bool = False) -> None:
        super().__init__()
        self.temperature = check_number('BAKELoss temperature', temperature, positive=True)
        if check_number('BAKELoss omega', omega) >= 1:
            raise InputError(f'BAKELoss omega={omega!r}: expected a number in [0, 1)')
        self.omega = omega
        self.released = released

    def forward(self, logits: Tensor, features: Tensor) -> Tensor:
        return bake_loss(logits, features, self.temperature, self.omega, self.released)
