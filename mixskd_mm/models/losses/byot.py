"""BYOT: Be Your Own Teacher (Zhang et al., ICCV 2019), and its journal version (TPAMI 2021)."""

from __future__ import annotations

import torch
from mmpretrain.registry import MODELS
from torch import Tensor, nn

from mixskd_mm.errors import InputError, check_number

from .classification import soft_cross_entropy
from .precision import full_precision

HINTS = ('mean', 'norm', 'masked_sum')


def hint_loss(student: Tensor, teacher: Tensor, form: str = 'mean') -> Tensor:
    """Distance of a shallow classifier's features from the deepest one's: the L2 hint.

    Args:
        student (Tensor): Features that learn, behind their adapter, ``(N, D)`` or ``(N, C, H, W)``.
        teacher (Tensor): Features of the deepest classifier, same shape; detached here.
        form (str): Defaults to ``mean``.

            - ``mean``: squared difference, mean over all elements, as in the MixSKD authors' release.
            - ``norm``: L2 norm, not squared, of the whole batch's difference, as in the journal version's release.
            - ``masked_sum``: squared difference, summed over all elements at which either side is positive, as in the
              re-implementation by luanyunteng.
    """
    student, teacher = full_precision(student), full_precision(teacher.detach())
    difference = student - teacher
    if form == 'norm':
        return torch.linalg.vector_norm(difference)
    if form == 'masked_sum':
        return (difference**2 * ((student > 0) | (teacher > 0))).sum()
    return (difference**2).mean()


def distillation_cross_entropy(
    student: Tensor, teacher: Tensor, temperature: float, times_t_squared: bool = True
) -> Tensor:
    """-T^2 sum_c sigma(teacher / T) log sigma(student / T), mean over the batch.

    ``kd_loss`` plus the teacher's entropy: the same gradient, another value.

    Args:
        student (Tensor): Logits that learn, ``(N, C)``.
        teacher (Tensor): Logits that teach, ``(N, C)``; detached here.
        temperature (float): T > 0.
        times_t_squared (bool): Whether to multiply by T^2. The journal version's release does not. Defaults to True.
    """
    targets = (full_precision(teacher) / temperature).softmax(dim=1)
    loss = soft_cross_entropy(full_precision(student) / temperature, targets)
    return temperature**2 * loss if times_t_squared else loss


@MODELS.register_module()
class HintLoss(nn.Module):
    """:func:`hint_loss` as a module.

    Args:
        form (str): ``mean``, ``norm`` or ``masked_sum``. Defaults to ``mean``.
    """

    def __init__(self, form: str = 'mean') -> None:
        super().__init__()
        if form not in HINTS:
            raise InputError(f'HintLoss form={form!r}: expected one of {list(HINTS)}')
        self.form = form

    def forward(self, student: Tensor, teacher: Tensor) -> Tensor:
        return hint_loss(student, teacher, self.form)


@MODELS.register_module()
class DistillationCrossEntropyLoss(nn.Module):
    """:func:`distillation_cross_entropy` as a module; ``KDLoss`` takes the same inputs.

    Args:
        temperature (float): T > 0. Defaults to 3.0.
        times_t_squared (bool): Whether to multiply by T^2. Defaults to True.
    """

    def __init__(self, temperature: float = 3.0, times_t_squared: bool = True) -> None:
        super().__init__()
        self.temperature = check_number('DistillationCrossEntropyLoss temperature', temperature, positive=True)
        self.times_t_squared = times_t_squared

    def forward(self, student: Tensor, teacher: Tensor) -> Tensor:
        return distillation_cross_entropy(student, teacher, self.temperature, self.times_t_squared)
