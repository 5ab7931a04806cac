"""Tf-KD: Revisiting Knowledge Distillation via Label Smoothing Regularization (Yuan et al., CVPR 2020)."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from mmpretrain.registry import MODELS
from torch import Tensor, nn

from mixskd_mm.errors import InputError, check_number

from .classification import soft_cross_entropy
from .distillation import kl_loss
from .precision import full_precision


def smooth_labels(labels: Tensor, num_classes: int, correct_prob: float) -> Tensor:
    """``correct_prob`` at the label and (1 - correct_prob) / (C - 1) elsewhere.

    Args:
        labels (Tensor): Class indices, ``(N, )``.
        num_classes (int): C > 1.
        correct_prob (float): In (0, 1].

    Returns:
        Tensor: float32, ``(N, C)``; each row sums to 1.
    """
    is_label = F.one_hot(labels, num_classes).bool()
    other_prob = (1 - correct_prob) / (num_classes - 1)
    return torch.where(is_label, correct_prob, other_prob).float()


def virtual_teacher(labels: Tensor, num_classes: int, temperature: float, correct_prob: float = 0.99) -> Tensor:
    """sigma(u / T), with u the smooth labels: the manually designed teacher p^d_T of Eq. (9).

    A softmax of probabilities: with T = 20 and C = 100 the label gets 0.0105, hardly more than any other class.

    Args:
        labels (Tensor): Class indices, ``(N, )``.
        num_classes (int): C > 1.
        temperature (float): T > 0.
        correct_prob (float): u at the label, in (0, 1]. Defaults to 0.99.

    Returns:
        Tensor: float32, ``(N, C)``; each row sums to 1.
    """
    return (smooth_labels(labels, num_classes, correct_prob) / temperature).softmax(dim=1)


def virtual_teacher_loss(
    logits: Tensor, labels: Tensor, temperature: float, correct_prob: float = 0.99, temper_student: bool = True
) -> Tensor:
    """KL(virtual teacher || sigma(logits / T)), sum over classes, mean over the batch: Eq. (9), second term. No T^2.

    The authors' code averages over classes, too, and multiplies by ``multiplier`` m: that is m / C times this.

    Args:
        logits (Tensor): ``(N, C)``.
        labels (Tensor): Class indices, ``(N, )``.
        temperature (float): T > 0.
        correct_prob (float): As in :func:`virtual_teacher`. Defaults to 0.99.
        temper_student (bool): Whether the logits are divided by T, as in Eq. (9). The authors' code for CIFAR-100 does not.
            Defaults to True.
    """
    targets = virtual_teacher(labels, logits.shape[1], temperature, correct_prob)
    return kl_loss(full_precision(logits) / temperature if temper_student else logits, targets)


def tempered_label_smoothing(logits: Tensor, labels: Tensor, temperature: float, correct_prob: float = 0.9) -> Tensor:
    """-sum_c (u_c / T) log sigma(logits / T)_c, mean over the batch: what the MixSKD authors' release calls Tf-KD.

    u / T is not normalised: a row sums to 1 / T.

    Args:
        logits (Tensor): ``(N, C)``.
        labels (Tensor): Class indices, ``(N, )``.
        temperature (float): T > 0.
        correct_prob (float): u at the label, in (0, 1]. Defaults to 0.9.
    """
    targets = smooth_labels(labels, logits.shape[1], correct_prob) / temperature
    return soft_cross_entropy(full_precision(logits) / temperature, targets)


def check_probability(name: str, value: float) -> float:
    if check_number(name, value, positive=True) > 1:
        raise InputError(f'{name}={value!r}: expected a number in (0, 1]')
    return value


@MODELS.register_module()
class VirtualTeacherLoss(nn.Module):
    """:func:`virtual_teacher_loss` as a module.

    Args:
        temperature (float): T > 0. Defaults to 20.0, the authors' for ResNet-18 on CIFAR-100.
        correct_prob (float): In (0, 1]. Defaults to 0.99.
        temper_student (bool): As in :func:`virtual_teacher_loss`. Defaults to True.
    """

    def __init__(self, temperature: float = 20.0, correct_prob: float = 0.99, temper_student: bool = True) -> None:
        super().__init__()
        self.temperature = check_number('VirtualTeacherLoss temperature', temperature, positive=True)
        self.correct_prob = check_probability('VirtualTeacherLoss correct_prob', correct_prob)
        self.temper_student = temper_student

    def forward(self, logits: Tensor, labels: Tensor) -> Tensor:
        return virtual_teacher_loss(logits, labels, self.temperature, self.correct_prob, self.temper_student)


@MODELS.register_module()
class TemperedLabelSmoothingLoss(nn.Module):
    """:func:`tempered_label_smoothing` as a module; ``VirtualTeacherLoss`` takes the same inputs.

    Args:
        temperature (float): T > 0. Defaults to 20.0, the release's.
        correct_prob (float): In (0, 1]. Defaults to 0.9, the release's.
    """

    def __init__(self, temperature: float = 20.0, correct_prob: float = 0.9) -> None:
        super().__init__()
        self.temperature = check_number('TemperedLabelSmoothingLoss temperature', temperature, positive=True)
        self.correct_prob = check_probability('TemperedLabelSmoothingLoss correct_prob', correct_prob)

    def forward(self, logits: Tensor, labels: Tensor) -> Tensor:
        return tempered_label_smoothing(logits, labels, self.temperature, self.correct_prob)
