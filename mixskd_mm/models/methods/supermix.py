"""Training with mixed images of SuperMix: Supervising the Mixing Data Augmentation (Dabouei et al., CVPR 2021)."""

from __future__ import annotations

import torch
from mmpretrain.registry import MODELS
from mmpretrain.structures import DataSample
from torch import Tensor
from torch.utils.data import DataLoader

from mixskd_mm.datasets.loader_checks import check_batches
from mixskd_mm.errors import InputError, check_number

from ..base import check_halves, halves, top1
from ..losses import cross_entropy, soft_cross_entropy
from ..mixing import Mixture
from .kd import KDClassifier


@MODELS.register_module()
class SuperMixClassifier(KDClassifier):
    """An ``ImageClassifier`` that learns from N natural images x and N mixed images x^ per step.

    With logits z of the network and z_t of the teacher, which is the supervisor that the images were mixed for:

    L = ce_weight CE(z(x), y) + mixed_weight CE(z(x^), argmax z_t(x^)) + kd_weight KD(z, z_t)

    With KD on natural images this is the authors' code, with one weight for both cross-entropies: gamma = 2 and 1.8, and a =
    0 and 0.2 for KD ("Eq. 9" and "Eq. 8" of their README). In January 2020 it had cross-entropy on natural and KD on mixed
    images, with 0.2 and 1.8: the ratio of the supplement's lambda_KD = 0.9. The paper's equations were not readable.

    Natural and mixed images are forwarded one after the other, so BatchNorm does not mix their statistics. Without a teacher
    (``mixed_labels='data'``, ``kd_weight=0``) this is SuperMix as an augmentation: mixed images learn the labels that
    ``SuperMixDataset`` gives them, soft ones if it does.

    Args:
        args: Those of :class:`SelfDistillationClassifier`. The backbone may be any.
        mixed_weight (float): Weight of the cross-entropy of mixed images, >= 0. Defaults to 1.
        mixed_labels (str): What they learn: ``'teacher'``, its argmax for the image as it is augmented, as in the authors'
            code; or ``'data'``. Defaults to ``'teacher'``.
        kd_weight (float): Weight of KD, >= 0. Defaults to 0.
        kd_on (str): The images of KD, ``'natural'`` or ``'mixed'``. Defaults to ``'natural'``.
        kwargs: Those of ``KDClassifier``: ``teacher`` and ``teacher_checkpoint``, which must be there if a term needs them,
            ``temperature``, ``ce_weight``, ``kd_loss``.

    Raises:
        InputError: if a value above is outside its range, or the parts do not fit together; before training, if batches do
            not consist of natural and mixed images, or the teacher's checkpoint is missing or does not fit.
    """

    def __init__(
        self,
        *args,
        mixed_weight: float = 1.0,
        mixed_labels: str = 'teacher',
        kd_weight: float = 0.0,
        kd_on: str = 'natural',
        teacher: dict | str | None = None,
        teacher_checkpoint: str | None = None,
        **kwargs,
    ) -> None:
        super().__init__(*args, kd_weight=kd_weight, teacher=teacher, teacher_checkpoint=teacher_checkpoint, **kwargs)
        name = type(self).__name__
        self.mixed_weight = check_number(f'{name} mixed_weight', mixed_weight)
        if mixed_labels not in ('teacher', 'data'):
            raise InputError(f"{name} mixed_labels={mixed_labels!r}: expected 'teacher' or 'data'")
        if kd_on not in ('natural', 'mixed'):
            raise InputError(f"{name} kd_on={kd_on!r}: expected 'natural' or 'mixed'")
        self.labels_by_teacher = self.mixed_weight > 0 and mixed_labels == 'teacher'
        self.kd_on = kd_on
        if self.labels_by_teacher and not hasattr(self, 'teacher'):
            self.add_teacher(teacher, teacher_checkpoint)

    def check_loader(self, loader: DataLoader) -> None:
        """Raise InputError unless batches have natural and mixed images and the teacher, if there is one, is trained."""
        check_batches(loader, 'natural and mixed images', type(self).__name__)
        super().check_loader(loader)

    def losses(
        self, inputs: Tensor, labels: Tensor, mixture: Mixture | None, data_samples: list[DataSample]
    ) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
        """``loss_cls``, ``loss_mixed`` and ``loss_kd``; top-1 of z and, where it is needed, z_t, on natural images.

        Natural images are the first half of the batch, mixed ones the second.
        """
        check_halves(type(self).__name__, inputs, 'as many natural as mixed ones')
        natural, mixed = halves(inputs)
        y, mixed_y = halves(labels)
        kd_natural, kd_mixed = (self.kd_weight > 0 and self.kd_on == part for part in ('natural', 'mixed'))
        losses, logs = {}, {}

        if self.ce_weight > 0 or kd_natural:
            z = self.classify(self.feature_map(natural))
            logs['top1_f'] = top1(z, y)
        if self.ce_weight > 0:
            losses['loss_cls'] = self.ce_weight * cross_entropy(z, y)
        if kd_natural:
            z_t = self.teacher(natural)
            logs['top1_teacher'] = top1(z_t, y)
            losses['loss_kd'] = self.kd_weight * self.kd_loss(z, z_t)

        if self.mixed_weight > 0 or kd_mixed:
            z = self.classify(self.feature_map(mixed))
        if self.labels_by_teacher or kd_mixed:
            z_t = self.teacher(mixed)
        if self.mixed_weight > 0:
            scores = None if self.labels_by_teacher else soft_labels(halves(data_samples)[1], inputs.device)
            if scores is not None:
                loss_mixed = soft_cross_entropy(z, scores)
            else:
                loss_mixed = cross_entropy(z, z_t.argmax(dim=1) if self.labels_by_teacher else mixed_y)
            losses['loss_mixed'] = self.mixed_weight * loss_mixed
        if kd_mixed:
            losses['loss_kd'] = self.kd_weight * self.kd_loss(z, z_t)
        return losses, logs


# Data samples are Python objects: a compiler would specialise on each of them.
@torch.compiler.disable
def soft_labels(data_samples: list[DataSample], device: torch.device) -> Tensor | None:
    """q of the samples ``(N, C)``, on ``device``; None if they have none."""
    if 'gt_score' not in data_samples[0]:
        return None
    return torch.stack([sample.gt_score for sample in data_samples]).to(device, non_blocking=True)
