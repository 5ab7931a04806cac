"""Logit distillation: the KL divergence of MixSKD, Eq. (10) and (12), and of most methods it is compared with."""

from __future__ import annotations

import torch.nn.functional as F
from mmpretrain.registry import MODELS
from torch import Tensor, nn

from mixskd_mm.errors import check_number

from .precision import full_precision


def kd_loss(student: Tensor, teacher: Tensor, temperature: float) -> Tensor:
    """T^2 KL(sigma(teacher / T) || sigma(student / T)), sum over classes, mean over the batch (MixSKD, Eq. 10 and 12).

    T^2 keeps the gradient's size independent of T, as in the original KD (Hinton et al., 2015) that the paper follows.
    No gradient reaches ``teacher``: the bars of Eq. (10), the text under Eq. (12).

    Args:
        student (Tensor): Logits that learn, ``(N, C)``.
        teacher (Tensor): Logits that teach, ``(N, C)``; detached here.
        temperature (float): T > 0.
    """
    log_p_student = F.log_softmax(full_precision(student) / temperature, dim=1)
    log_p_teacher = F.log_softmax(full_precision(teacher.detach()) / temperature, dim=1)
    return temperature**2 * F.kl_div(log_p_student, log_p_teacher, reduction='batchmean', log_target=True)


def kl_loss(logits: Tensor, targets: Tensor) -> Tensor:
    """KL(targets || sigma(logits)), sum over classes, mean over the batch: a teacher that is given as probabilities.

    Args:
        logits (Tensor): Logits that learn, ``(N, C)``; divide them by T for a temperature.
        targets (Tensor): Probabilities, ``(N, C)``, zeros allowed; detached here.
    """
    log_p = F.log_softmax(full_precision(logits), dim=1)
    return F.kl_div(log_p, full_precision(targets.detach()), reduction='batchmean')


@MODELS.register_module()
class KDLoss(nn.Module):
    """:func:`kd_loss` as a module.

    Args:
        temperature (float): T > 0. Defaults to 3.0, the paper's.
    """

    def __init__(self, temperature: float = 3.0) -> None:
        super().__init__()
        self.temperature = check_number('KDLoss temperature', temperature, positive=True)

    def forward(self, student: Tensor, teacher: Tensor) -> Tensor:
        return kd_loss(student, teacher, self.temperature)
