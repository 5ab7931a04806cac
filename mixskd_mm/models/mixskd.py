"""MixSKD: Self-Knowledge Distillation from Mixup for Image Recognition (Yang et al., ECCV 2022).

The equation numbers are the paper's. ``docs/paper_vs_release.md`` says where the authors' release differs from the paper
and which argument below selects it.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from mmengine.model import ModuleList
from mmpretrain.models import CrossEntropyLoss, ImageClassifier
from mmpretrain.models.heads import LinearClsHead
from mmpretrain.registry import MODELS
from mmpretrain.structures import DataSample
from torch import Tensor, nn

from mixskd_mm.errors import InputError, check_number

from .heads import SelfTeacher
from .losses import cross_entropy, discriminator_loss, feature_loss, kd_loss, mixed_cross_entropy
from .mixture import Mixture
from .preprocessor import MixupDataPreprocessor
from .recompute import checkpoint_activations
from .stages import AuxiliaryBranch, global_average_pool, stage_names, stage_outputs


@MODELS.register_module()
class MixSKDClassifier(ImageClassifier):
    """An ``ImageClassifier`` that trains with MixSKD and is a plain classifier otherwise.

    ``predict`` and ``tensor`` modes, ``backbone``, ``neck`` and ``head`` and their checkpoint keys are those of
    ``ImageClassifier``. What only training needs lies under the keys ``branches.``, ``self_teacher.`` and
    ``discriminators.``.

    Args:
        backbone (dict | nn.Module): One that can be cut into stages: mmpretrain's ResNet family, or one of
            ``mixskd_mm.models.backbones``. A ResNet's ``with_cp=True`` checkpoints the activations of its blocks and of the
            branches'.
        neck (dict | nn.Module): As for ``ImageClassifier``: ``GlobalAveragePooling``.
        head (dict | nn.Module): A ``LinearClsHead`` with a plain ``CrossEntropyLoss``.
        pretrained (str, optional): Checkpoint of the whole model. Defaults to None.
        train_cfg (dict, optional): As for ``ImageClassifier``, but without ``augments``. Defaults to None.
        data_preprocessor (dict | nn.Module, optional): A ``MixupDataPreprocessor``; its ``alpha`` is the Beta
            distribution's. Defaults to None: one with the default alpha, 0.2, and no normalisation.
        init_cfg (dict, optional): As for ``ImageClassifier``. Defaults to None.
        temperature (float): T of Eq. (10) and (12), > 0. Defaults to 3.0.
        clean_weight (float): How often Eq. (5) counts the cross-entropy of the clean images. Defaults to 2: x_i and x_j
            run over the same batch. The release counts it once.
        mixed_weight (float): How often Eq. (5) counts the cross-entropy of the mixed images. Defaults to 1; the release's
            CIFAR script has 0.
        feature_weight (float): beta of Eq. (13), >= 0. Defaults to 1.
        dis_weight (float): gamma of Eq. (13), >= 0. Defaults to 1.
        logit_weight (float | dict): mu of Eq. (13), >= 0, or one weight for each of ``b_logit``, ``cls_h`` and
            ``f_logit``; one left out is 1. Defaults to 1.
        teacher_stages (Sequence[int], optional): Which F_k the self-teacher h reads, 1-based (Table 5, right). Defaults to
            None: all of them.
        recompute_stages (Sequence[int]): Stages, 1-based, that are computed once more in the backward pass instead of kept
            in memory, in the backbone and in the branches. Results are the same. ``backbone.with_cp=True`` has precedence.
            Defaults to (): none.
        discriminator (dict, optional): Config of D_k without ``in_channels``. Defaults to ``dict(type='Discriminator')``.

    Raises:
        InputError: if a value above is outside its range, or the parts do not fit together.
    """

    def __init__(
        self,
        backbone: dict,
        neck: dict | None = None,
        head: dict | None = None,
        pretrained: str | None = None,
        train_cfg: dict | None = None,
        data_preprocessor: dict | None = None,
        init_cfg: dict | None = None,
        temperature: float = 3.0,
        clean_weight: float = 2.0,
        mixed_weight: float = 1.0,
        feature_weight: float = 1.0,
        dis_weight: float = 1.0,
        logit_weight: float | dict = 1.0,
        teacher_stages: Sequence[int] | None = None,
        recompute_stages: Sequence[int] = (),
        discriminator: dict | None = None,
    ) -> None:
        self_name = type(self).__name__
        if (train_cfg or {}).get('augments'):
            raise InputError(
                f'{self_name} train_cfg.augments={train_cfg["augments"]!r}: expected none, since MixSKD mixes the images '
                'itself (data_preprocessor.alpha)'
            )
        if not isinstance(data_preprocessor, nn.Module):
            data_preprocessor = dict(data_preprocessor or {})
            data_preprocessor.setdefault('type', 'MixupDataPreprocessor')
        super().__init__(backbone, neck, head, pretrained, None, data_preprocessor, init_cfg)

        self.temperature = check_number(f'{self_name} temperature', temperature, positive=True)
        self.clean_weight = check_number(f'{self_name} clean_weight', clean_weight)
        self.mixed_weight = check_number(f'{self_name} mixed_weight', mixed_weight)
        self.feature_weight = check_number(f'{self_name} feature_weight', feature_weight)
        self.dis_weight = check_number(f'{self_name} dis_weight', dis_weight)
        self.logit_weight = check_logit_weight(logit_weight)
        num_stages = len(stage_names(self.backbone))
        if teacher_stages is None:
            teacher_stages = range(1, num_stages + 1)
        self.teacher_stages = check_stages('teacher_stages', teacher_stages, num_stages, at_least=1)
        checkpoint_activations(self.backbone, check_stages('recompute_stages', recompute_stages, num_stages))
        self._check_parts()

        num_classes, channels = self.head.num_classes, self.head.in_channels
        # b_1 ... b_{K-1}. Eq. (5) classifies with them, so they are there whatever the weights.
        self.branches = ModuleList(
            AuxiliaryBranch(self.backbone, k, num_classes, self.head.init_cfg) for k in range(1, num_stages)
        )
        if self.logit_weight['cls_h'] > 0 or self.logit_weight['f_logit'] > 0:
            self.self_teacher = SelfTeacher(len(self.teacher_stages), channels, num_classes)
            # Only Eq. (11) trains h. Without it h keeps its random weights, as in the release's CIFAR script.
            self.self_teacher.requires_grad_(self.logit_weight['cls_h'] > 0)
        if self.dis_weight > 0:
            discriminator = dict(discriminator or {})
            discriminator.setdefault('type', 'Discriminator')
            self.discriminators = ModuleList(
                MODELS.build(dict(discriminator, in_channels=channels)) for _ in range(num_stages)
            )

    def _check_parts(self) -> None:
        """Raise InputError unless preprocessor, backbone and head fit each other and MixSKD."""
        name, preprocessor, head = type(self).__name__, self.data_preprocessor, self.head
        if not isinstance(preprocessor, MixupDataPreprocessor):
            raise InputError(
                f'{name} data_preprocessor is a {type(preprocessor).__name__}: expected MixupDataPreprocessor'
            )
        if not isinstance(head, LinearClsHead):
            raise InputError(f'{name} head is a {type(head).__name__}: expected a LinearClsHead')
        if not self.with_neck:
            raise InputError(f'{name} neck is missing: expected a GlobalAveragePooling')
        plain = dict(use_sigmoid=False, use_soft=False, reduction='mean', loss_weight=1, class_weight=None)
        kind, settings = type(head.loss_module).__name__, vars(head.loss_module)
        other = {key: settings[key] for key, value in plain.items() if settings.get(key, value) != value}
        if not isinstance(head.loss_module, CrossEntropyLoss) or other:
            described = f'{kind} with {other}' if other else kind
            raise InputError(
                f'{name} head.loss is a {described}: expected a plain CrossEntropyLoss, the L_ce of Eq. (5)'
            )
        if head.in_channels != self.backbone.feat_dim:
            raise InputError(
                f'{name} head.in_channels={head.in_channels}: expected {self.backbone.feat_dim}, the width of the last '
                f'stage of backbone {type(self.backbone).__name__}'
            )
        if preprocessor.num_classes is None:
            preprocessor.num_classes = head.num_classes
        if preprocessor.num_classes != head.num_classes:
            raise InputError(
                f'{name} head.num_classes={head.num_classes} but data_preprocessor.num_classes='
                f'{preprocessor.num_classes}: expected the same number'
            )

    def forward(
        self,
        inputs: Tensor,
        data_samples: list[DataSample] | None = None,
        mode: str = 'tensor',
        mixture: Mixture | None = None,
    ):
        """As ``ImageClassifier.forward``; in mode ``loss`` also what is logged beside the losses.

        Args:
            inputs (Tensor): Clean, normalised images, ``(N, 3, H, W)``.
            data_samples (list[DataSample], optional): Their labels; needed for ``loss``.
            mode (str): ``tensor``, ``predict`` or ``loss``. Defaults to ``tensor``.
            mixture (Mixture, optional): How to mix them, for ``loss`` only.
        """
        if mode != 'loss':
            return super().forward(inputs, data_samples, mode)
        losses, logs = self._losses_and_logs(inputs, data_samples, mixture)
        return {**losses, **logs}

    def loss(self, inputs: Tensor, data_samples: list[DataSample], mixture: Mixture | None = None) -> dict[str, Tensor]:
        """The weighted terms of Eq. (13), whose sum is L_MixSKD.

        Args:
            inputs (Tensor): Clean, normalised images x, ``(N, 3, H, W)``.
            data_samples (list[DataSample]): Their labels y, one class index each.
            mixture (Mixture, optional): lam and the pairs (i, j). Defaults to None: drawn by the data preprocessor.

        Returns:
            dict[str, Tensor]: 0-d tensors ``loss_cls``, ``loss_feature``, ``loss_dis``, ``loss_b_logit``, ``loss_cls_h``
            and ``loss_f_logit``. A term whose weight is 0 is neither computed nor returned.
        """
        return self._losses_and_logs(inputs, data_samples, mixture)[0]

    def _losses_and_logs(
        self, inputs: Tensor, data_samples: list[DataSample], mixture: Mixture | None
    ) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
        """The terms of Eq. (13), and what is logged beside them: lam and top-1 in percent of each head on clean images."""
        labels = hard_labels(data_samples, inputs.device)
        if mixture is None:
            mixture = self.data_preprocessor.draw(len(inputs))
        weight, T = self.logit_weight, self.temperature
        losses: dict[str, Tensor] = {}

        # Eq. (4): x~ = lam x_i + (1 - lam) x_j. One forward of the N clean and the N mixed images.
        images = torch.cat([inputs, mixture(inputs)])

        # Eq. (2): F_k = zeta_k o phi_k o ... o phi_1 for k < K, F_K = phi.
        stages = stage_outputs(self.backbone, images)
        features = [branch(stage) for branch, stage in zip(self.branches, stages, strict=False)] + [stages[-1]]
        pooled = [global_average_pool(feature) for feature in features]

        # Eq. (1): logits of b_1, ..., b_{K-1} and f.
        b_logits = [branch.classify(p) for branch, p in zip(self.branches, pooled, strict=False)]
        f_logits = self.head(self.neck((features[-1],)))

        # Eq. (3) and (5): cross-entropy of every head on x_i, x_j and x~. x_j is the same batch in another order.
        loss_cls = 0.0
        for logits in (*b_logits, f_logits):
            clean, mixed = halves(logits)
            loss_cls = loss_cls + self.clean_weight * cross_entropy(clean, labels)
            loss_cls = loss_cls + self.mixed_weight * mixed_cross_entropy(mixed, labels, mixture)
        losses['loss_cls'] = loss_cls

        # Eq. (6) and (7): interpolated maps F~_k against the mixed images' maps.
        if self.feature_weight > 0:
            loss_feature = 0.0
            for feature in features:
                clean, mixed = halves(feature)
                loss_feature = loss_feature + feature_loss(mixture(clean), mixed)
            losses['loss_feature'] = self.feature_weight * loss_feature

        # Eq. (8). Pooling commutes with interpolation, so GAP(F~_k) is the interpolation of the pooled maps.
        if self.dis_weight > 0:
            loss_dis = 0.0
            for discriminator, p in zip(self.discriminators, pooled, strict=True):
                clean, mixed = halves(p)
                loss_dis = loss_dis + discriminator_loss(discriminator(mixture(clean)), discriminator(mixed))
            losses['loss_dis'] = self.dis_weight * loss_dis

        # Eq. (9) and (10): interpolated and mixed logits of each branch teach each other.
        if weight['b_logit'] > 0:
            loss_b_logit = 0.0
            for logits in b_logits:
                clean, mixed = halves(logits)
                interpolated = mixture(clean)
                loss_b_logit = loss_b_logit + kd_loss(interpolated, mixed, T) + kd_loss(mixed, interpolated, T)
            losses['loss_b_logit'] = weight['b_logit'] * loss_b_logit

        # The self-teacher. h is affine, so h(F~) is the interpolation of h(F).
        h_logits = None
        if weight['cls_h'] > 0 or weight['f_logit'] > 0:
            h_logits = self.self_teacher([pooled[k - 1] for k in self.teacher_stages])
            h_clean, h_mixed = halves(h_logits)
            h_interpolated = mixture(h_clean)

        # Eq. (11): both views of h learn the interpolated label.
        if weight['cls_h'] > 0:
            losses['loss_cls_h'] = weight['cls_h'] * (
                mixed_cross_entropy(h_interpolated, labels, mixture) + mixed_cross_entropy(h_mixed, labels, mixture)
            )

        # Eq. (12), crossed: h on mixed images teaches the interpolated logits of f, and the other way round.
        if weight['f_logit'] > 0:
            f_clean, f_mixed = halves(f_logits)
            losses['loss_f_logit'] = weight['f_logit'] * (
                kd_loss(mixture(f_clean), h_mixed, T) + kd_loss(f_mixed, h_interpolated, T)
            )

        logs = {'lam': mixture.lam, 'top1_f': top1(f_logits, labels)}
        logs.update({f'top1_b{k}': top1(logits, labels) for k, logits in enumerate(b_logits, start=1)})
        if h_logits is not None:
            logs['top1_h'] = top1(h_logits, labels)
        return losses, logs


def halves(x: Tensor) -> tuple[Tensor, Tensor]:
    """Split ``(2N, ...)`` into the clean and the mixed images' ``(N, ...)``."""
    n = len(x) // 2
    return x[:n], x[n:]


@torch.no_grad()
def top1(logits: Tensor, labels: Tensor) -> Tensor:
    """Top-1 accuracy in percent on the clean half of ``logits`` ``(2N, C)``; a 0-d tensor, left on its device."""
    clean, _ = halves(logits)
    return (clean.argmax(dim=1) == labels).float().mean() * 100


# Data samples are Python objects: a compiler would specialise on each of them.
@torch.compiler.disable
def hard_labels(data_samples: list[DataSample], device: torch.device) -> Tensor:
    """Class indices ``(N, )`` of the samples, on ``device``; the host does not wait for the copy."""
    return torch.cat([sample.gt_label for sample in data_samples]).to(device, non_blocking=True)


def check_logit_weight(logit_weight: float | dict) -> dict[str, float]:
    """One weight for each term that mu of Eq. (13) multiplies. Raises InputError for a negative or unknown one."""
    terms = ('b_logit', 'cls_h', 'f_logit')
    if not isinstance(logit_weight, dict):
        return dict.fromkeys(terms, check_number('MixSKDClassifier logit_weight', logit_weight))
    unknown = sorted(set(logit_weight) - set(terms))
    if unknown:
        raise InputError(f'MixSKDClassifier logit_weight has the terms {unknown}: expected some of {list(terms)}')
    return {term: check_number(f'MixSKDClassifier logit_weight.{term}', logit_weight.get(term, 1.0)) for term in terms}


def check_stages(name: str, stages: Sequence[int], num_stages: int, at_least: int = 0) -> tuple[int, ...]:
    """``at_least`` different stages, 1-based. Raises InputError, naming the argument, if one is not in 1..num_stages."""
    stages = tuple(stages) if isinstance(stages, Sequence) and not isinstance(stages, str) else (stages,)
    in_range = all(type(stage) is int and 1 <= stage <= num_stages for stage in stages)
    if not in_range or len(stages) < at_least or len(set(stages)) < len(stages):
        raise InputError(
            f'MixSKDClassifier {name}={stages!r}: expected different stages from 1 to {num_stages}, the number of '
            'stages of the backbone'
        )
    return stages
