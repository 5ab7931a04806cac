"""Tf-KD: Revisiting Knowledge Distillation via Label Smoothing Regularization (Yuan et al., CVPR 2020)."""

from __future__ import annotations

from copy import deepcopy

from mmpretrain.registry import MODELS
from mmpretrain.structures import DataSample
from torch import Tensor
from torch.utils.data import DataLoader

from mixskd_mm.errors import InputError, check_number

from ..base import SelfDistillationClassifier, build_loss, top1
from ..losses import cross_entropy
from ..mixing import Mixture
from ..teacher import FrozenTeacher


@MODELS.register_module()
class TfKDClassifier(SelfDistillationClassifier):
    """An ``ImageClassifier`` that learns without a stronger teacher: from a virtual one, or from its own trained copy.

    Tf-KD_reg, Eq. (9), with the virtual teacher q = softmax(u / T), where u is 0.99 at the label:

    L = (1 - alpha) CE(z, y) + alpha KL(q || softmax(z / T))

    Tf-KD_self, with z_t the logits of the same network, trained before and frozen, under the key ``teacher.``:

    L = (1 - alpha) CE(z, y) + alpha T^2 KL(softmax(z_t / T) || softmax(z / T))

    The authors' code averages KL over the classes, too, and multiplies it by ``multiplier``, so that alpha m / C is its
    weight. On CIFAR-100 it also leaves z in Eq. (9) untempered, ``kd_loss=dict(temper_student=False)``. What the MixSKD
    authors' release calls Tf-KD is ``alpha=1, ce_weight=1, kd_loss=dict(type='TemperedLabelSmoothingLoss')``.

    Args:
        args: Those of :class:`SelfDistillationClassifier`. The backbone may be any.
        teacher_checkpoint (str, optional): Checkpoint of the same network, trained before: Tf-KD_self. Defaults to None:
            the virtual teacher, Tf-KD_reg.
        alpha (float, optional): Weight of KL, in [0, 1]. Defaults to None: the authors' value for ResNet-18 on CIFAR-100,
            0.1 with the virtual teacher and 0.95 with a trained one.
        temperature (float, optional): T, > 0. Defaults to None: the authors' value for ResNet-18 on CIFAR-100, 20 with the
            virtual teacher and 6 with a trained one.
        multiplier (float, optional): m of the authors' code, >= 0. Defaults to None: C, which gives the formulas above.
        ce_weight (float, optional): Weight of the cross-entropy, >= 0. Defaults to None: 1 - alpha.
        kd_loss (dict, optional): Config of KL. Defaults to ``dict(type='VirtualTeacherLoss')`` with ``temperature``, or
            ``dict(type='KDLoss')`` with a trained teacher.
        kwargs: Those of :class:`SelfDistillationClassifier`.

    Raises:
        InputError: if a value above is outside its range, or the parts do not fit together; before training, if the
            teacher's checkpoint is missing or does not fit.
    """

    def __init__(
        self,
        *args,
        teacher_checkpoint: str | None = None,
        alpha: float | None = None,
        temperature: float | None = None,
        multiplier: float | None = None,
        ce_weight: float | None = None,
        kd_loss: dict | None = None,
        **kwargs,
    ) -> None:
        super().__init__(*args, **kwargs)
        name = type(self).__name__
        virtual = teacher_checkpoint is None
        alpha = (0.1 if virtual else 0.95) if alpha is None else alpha
        temperature = (20.0 if virtual else 6.0) if temperature is None else temperature
        if check_number(f'{name} alpha', alpha) > 1:
            raise InputError(f'{name} alpha={alpha!r}: expected a number in [0, 1]')
        self.alpha = alpha
        self.temperature = check_number(f'{name} temperature', temperature, positive=True)
        self.ce_weight = check_number(f'{name} ce_weight', 1 - alpha if ce_weight is None else ce_weight)
        num_classes = self.head.num_classes
        multiplier = check_number(f'{name} multiplier', num_classes if multiplier is None else multiplier)
        self.kd_weight = alpha * multiplier / num_classes
        if self.kd_weight > 0 and not virtual:
            parts = deepcopy((self.backbone, self.neck, self.head))
            self.teacher = FrozenTeacher(*parts, teacher_checkpoint)
        default = 'VirtualTeacherLoss' if virtual else 'KDLoss'
        self.kd_loss = build_loss(kd_loss, default, temperature=self.temperature)

    def check_loader(self, loader: DataLoader) -> None:
        """Raise InputError if there is a teacher to be trained before, and it has no trained weights."""
        if hasattr(self, 'teacher'):
            self.teacher.check()

    def losses(
        self, inputs: Tensor, labels: Tensor, mixture: Mixture | None, data_samples: list[DataSample]
    ) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
        """``loss_cls`` and ``loss_kd``, and top-1 of z and z_t."""
        heads = {'f': self.classify(self.feature_map(inputs))}
        # The virtual teacher is made of the labels.
        target = labels
        if hasattr(self, 'teacher'):
            target = heads['teacher'] = self.teacher(inputs)
        losses = {}
        if self.ce_weight > 0:
            losses['loss_cls'] = self.ce_weight * cross_entropy(heads['f'], labels)
        if self.kd_weight > 0:
            losses['loss_kd'] = self.kd_weight * self.kd_loss(heads['f'], target)
        return losses, {f'top1_{name}': top1(logits, labels) for name, logits in heads.items()}
