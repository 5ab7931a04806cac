"""FRSKD: Refine Myself by Teaching Myself, Feature Refinement via Self-Knowledge Distillation (Ji et al., CVPR 2021)."""

from __future__ import annotations

import torch.nn.functional as F
from mmpretrain.registry import MODELS
from mmpretrain.structures import DataSample
from torch import Tensor

from mixskd_mm.errors import check_number

from ..base import SelfDistillationClassifier, build_loss, top1
from ..losses.precision import full_precision
from ..mixing import Mixture
from ..stages import output_channels, stage_outputs


@MODELS.register_module()
class FRSKDClassifier(SelfDistillationClassifier):
    """An ``ImageClassifier`` that learns from a feature pyramid on its own stages, the self-teacher.

    With logits z and stages F_1 ... F_L of the network, z_T and T_1 ... T_L of the self-teacher:

    L = CE(z, y) + CE(z_T, y) + alpha KD(z, z_T) + beta sum_i FD(F_i, T_i)

    KD is T^2 KL(softmax(z_T / T) || softmax(z / T)), FD the mean squared difference of the maps' normalised attention
    (:func:`~mixskd_mm.models.losses.frskd_feature_loss`). Both teach the network alone; the self-teacher learns from its
    cross-entropy, which also reaches the network, through F_i. As in the authors' code F_i is read after a ReLU: ResNets
    have it there, the stages of pre-activation networks get it here.

    With a ``MixupDataPreprocessor`` only mixed images are forwarded, and both CE are against the mixed labels: "FRSKD +
    Mixup". What only training needs lies under the key ``self_teacher.``.

    Args:
        args: Those of :class:`SelfDistillationClassifier`. The backbone must be one that can be cut into stages
            (:mod:`mixskd_mm.models.stages`), each of equal size or half that of the one before.
        temperature (float): T of KD, > 0. Defaults to 4.0.
        cls_teacher_weight (float): Weight of CE(z_T, y), >= 0. Defaults to 1; with 0 the self-teacher keeps its random
            weights.
        kd_weight (float): alpha, >= 0. Defaults to 2, the authors' value for CIFAR-100.
        feature_weight (float): beta, >= 0. Defaults to 100, the authors' value for CIFAR-100.
        self_teacher (dict, optional): Config of the self-teacher without ``in_channels`` and ``num_classes``. Defaults to
            ``dict(type='BiFPNSelfTeacher')``, whose width and depth are 2; for images of 224 px the authors of MixSKD have
            ``dict(width=1, depth=1)``.
        kd_loss (dict, optional): Config of KD. Defaults to ``dict(type='KDLoss')`` with ``temperature``.
        feature_loss (dict, optional): Config of FD for one i. Defaults to ``dict(type='FRSKDFeatureLoss')``.
        kwargs: Those of :class:`SelfDistillationClassifier`.

    Raises:
        InputError: if a value above is outside its range, or the parts do not fit together.
    """

    mixing = 'optional'

    def __init__(
        self,
        *args,
        temperature: float = 4.0,
        cls_teacher_weight: float = 1.0,
        kd_weight: float = 2.0,
        feature_weight: float = 100.0,
        self_teacher: dict | None = None,
        kd_loss: dict | None = None,
        feature_loss: dict | None = None,
        **kwargs,
    ) -> None:
        super().__init__(*args, **kwargs)
        name = type(self).__name__
        self.temperature = check_number(f'{name} temperature', temperature, positive=True)
        self.cls_teacher_weight = check_number(f'{name} cls_teacher_weight', cls_teacher_weight)
        self.kd_weight = check_number(f'{name} kd_weight', kd_weight)
        self.feature_weight = check_number(f'{name} feature_weight', feature_weight)
        channels = output_channels(self.backbone)
        if self.cls_teacher_weight > 0 or self.kd_weight > 0 or self.feature_weight > 0:
            config = {'type': 'BiFPNSelfTeacher', **(self_teacher or {})}
            self.self_teacher = MODELS.build(dict(config, in_channels=channels, num_classes=self.head.num_classes))
            # Only its cross-entropy trains it.
            self.self_teacher.requires_grad_(self.cls_teacher_weight > 0)
        self.kd_loss = build_loss(kd_loss, 'KDLoss', temperature=self.temperature)
        self.feature_loss = build_loss(feature_loss, 'FRSKDFeatureLoss')

    def losses(
        self, inputs: Tensor, labels: Tensor, mixture: Mixture | None, data_samples: list[DataSample]
    ) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
        """``loss_cls``, ``loss_cls_teacher``, ``loss_kd`` and ``loss_feature``, and top-1 of z and z_T on clean images."""
        images = inputs if mixture is None else mixture(inputs)
        stages = stage_outputs(self.backbone, images)
        heads = {'f': self.classify(stages[-1])}
        losses = {'loss_cls': self.cross_entropy(heads['f'], labels, mixture)}

        if hasattr(self, 'self_teacher'):
            features = [F.relu(stage) for stage in stages]
            logits, refined = self.self_teacher(features)
            heads['teacher'] = full_precision(logits)
        if self.cls_teacher_weight > 0:
            loss_cls_teacher = self.cross_entropy(heads['teacher'], labels, mixture)
            losses['loss_cls_teacher'] = self.cls_teacher_weight * loss_cls_teacher
        # The losses detach the teacher.
        if self.kd_weight > 0:
            losses['loss_kd'] = self.kd_weight * self.kd_loss(heads['f'], heads['teacher'])
        if self.feature_weight > 0:
            loss_feature = sum(self.feature_loss(F_i, T_i) for F_i, T_i in zip(features, refined, strict=True))
            losses['loss_feature'] = self.feature_weight * loss_feature

        logs = {f'top1_{name}': top1(logits, labels) for name, logits in heads.items()} if mixture is None else {}
        return losses, logs
