"""Classifiers that teach each other: DKS (Sun et al., CVPR 2019) and DCM (Yao and Sun, ECCV 2020)."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from mmpretrain.registry import MODELS
from torch import Tensor, nn

from mixskd_mm.errors import check_number

from .precision import full_precision

PairLoss = Callable[[Tensor, Tensor], Tensor]


def smoothed_kl(student: Tensor, teacher: Tensor, epsilon: float = 1e-8) -> Tensor:
    """KL(q || p) with p = (sigma(student) + epsilon) / (1 + C epsilon), q likewise: DKS and DCM, as both were released.

    Sum over classes, mean over the batch, no temperature. The smoothing bounds log(q / p) by about -log(epsilon).

    Args:
        student (Tensor): Logits that learn, ``(N, C)``.
        teacher (Tensor): Logits that teach, ``(N, C)``; detached here.
        epsilon (float): Added to each probability, > 0. Defaults to 1e-8.
    """
    p = full_precision(student).softmax(dim=1)
    q = full_precision(teacher.detach()).softmax(dim=1)
    # The normaliser 1 + C epsilon is the same for both and cancels in the ratio.
    log_ratio = torch.log(q + epsilon) - torch.log(p + epsilon)
    return ((q + epsilon) * log_ratio).sum(dim=1).mean() / (1 + q.shape[1] * epsilon)


def same_stage_loss(students: Sequence[Tensor], teachers: Sequence[Tensor], pair_loss: PairLoss) -> Tensor:
    """sum_i pair_loss(students[i], teachers[i]): DCM's same-stage pairs, for the students of one network.

    Args:
        students (Sequence[Tensor]): Logits of the classifiers that learn, ``(N, C)`` each.
        teachers (Sequence[Tensor]): Logits of the other network's classifiers, in the same order. One more at the end of
            either has no partner and is left out.
        pair_loss (Callable): ``smoothed_kl``, ``KDLoss``, or any other function of (student, teacher).
    """
    return total(students, [pair_loss(student, teacher) for student, teacher in zip(students, teachers, strict=False)])


def cross_stage_loss(students: Sequence[Tensor], teachers: Sequence[Tensor], pair_loss: PairLoss) -> Tensor:
    """sum_{i != j} pair_loss(students[i], teachers[j]).

    DKS: ``students`` and ``teachers`` are the classifiers of one network, so these are its m (m - 1) ordered pairs.
    DCM: those of two networks, so these are the cross-stage pairs for the students of one network.

    Args:
        students (Sequence[Tensor]): Logits of the classifiers that learn, ``(N, C)`` each.
        teachers (Sequence[Tensor]): Logits of the classifiers that teach, in the same order.
        pair_loss (Callable): ``smoothed_kl``, ``KDLoss``, or any other function of (student, teacher).
    """
    pairs = [(s, t) for i, s in enumerate(students) for j, t in enumerate(teachers) if i != j]
    return total(students, [pair_loss(student, teacher) for student, teacher in pairs])


def total(students: Sequence[Tensor], losses: Sequence[Tensor]) -> Tensor:
    """Sum of 0-d ``losses`` on the students' device, 0 if there are none."""
    return sum(losses, start=torch.zeros((), device=students[0].device))


@MODELS.register_module()
class SmoothedKLLoss(nn.Module):
    """:func:`smoothed_kl` as a module; ``KDLoss`` takes the same inputs.

    Args:
        epsilon (float): Added to each probability, > 0. Defaults to 1e-8.
    """

    def __init__(self, epsilon: float = 1e-8) -> None:
        super().__init__()
        self.epsilon = check_number('SmoothedKLLoss epsilon', epsilon, positive=True)

    def forward(self, student: Tensor, teacher: Tensor) -> Tensor:
        return smoothed_kl(student, teacher, self.epsilon)
