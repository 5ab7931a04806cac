"""MixSKD: Self-Knowledge Distillation from Mixup for Image Recognition (Yang et al., ECCV 2022).

The equation numbers are the paper's. ``docs/paper_vs_release.md`` says where the authors' release differs from the paper
and which argument below selects it.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from mmengine.model import ModuleList
from mmpretrain.registry import MODELS
from mmpretrain.structures import DataSample
from torch import Tensor

from mixskd_mm.errors import InputError, check_number

from ..base import SelfDistillationClassifier, build_loss, halves, top1
from ..heads import SelfTeacher
from ..losses import cross_entropy
from ..losses.precision import full_precision
from ..mixing import Mixture
from ..recompute import checkpoint_activations
from ..stages import AuxiliaryBranch, check_stages, global_average_pool, stage_names, stage_outputs


@MODELS.register_module()
class MixSKDClassifier(SelfDistillationClassifier):
    """An ``ImageClassifier`` that trains with MixSKD and is a plain classifier otherwise.

    What only training needs lies under the keys ``branches.``, ``self_teacher.`` and ``discriminators.``.

    Args:
        args: Those of :class:`SelfDistillationClassifier`. The backbone must be one that can be cut into stages
            (docs/backbones.md); with its ``with_cp=True`` the activations of its blocks and of the branches' are
            checkpointed. The data preprocessor is a ``MixupDataPreprocessor``.
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
        feature_loss (dict, optional): Config of Eq. (7) for one k. Defaults to ``dict(type='FeatureLoss')``.
        dis_loss (dict, optional): Config of Eq. (8) for one k. Defaults to ``dict(type='DiscriminatorLoss')``.
        kd_loss (dict, optional): Config of the L_KL of Eq. (10) and (12). Defaults to ``dict(type='KDLoss')`` with
            ``temperature``.
        kwargs: Those of :class:`SelfDistillationClassifier`.

    Raises:
        InputError: if a value above is outside its range, or the parts do not fit together.
    """

    mixing = 'always'

    def __init__(
        self,
        *args,
        temperature: float = 3.0,
        clean_weight: float = 2.0,
        mixed_weight: float = 1.0,
        feature_weight: float = 1.0,
        dis_weight: float = 1.0,
        logit_weight: float | dict = 1.0,
        teacher_stages: Sequence[int] | None = None,
        recompute_stages: Sequence[int] = (),
        discriminator: dict | None = None,
        feature_loss: dict | None = None,
        dis_loss: dict | None = None,
        kd_loss: dict | None = None,
        **kwargs,
    ) -> None:
        super().__init__(*args, **kwargs)
        name = type(self).__name__
        self.temperature = check_number(f'{name} temperature', temperature, positive=True)
        self.clean_weight = check_number(f'{name} clean_weight', clean_weight)
        self.mixed_weight = check_number(f'{name} mixed_weight', mixed_weight)
        self.feature_weight = check_number(f'{name} feature_weight', feature_weight)
        self.dis_weight = check_number(f'{name} dis_weight', dis_weight)
        self.logit_weight = check_logit_weight(logit_weight)
        num_stages = len(stage_names(self.backbone))
        if teacher_stages is None:
            teacher_stages = range(1, num_stages + 1)
        self.teacher_stages = check_stages(f'{name} teacher_stages', teacher_stages, num_stages, at_least=1)
        recompute_stages = check_stages(f'{name} recompute_stages', recompute_stages, num_stages)
        checkpoint_activations(self.backbone, recompute_stages)

        num_classes, channels = self.head.num_classes, self.head.in_channels
        # b_1 ... b_{K-1}. Eq. (5) classifies with them, so they are there whatever the weights.
        self.branches = ModuleList(
            AuxiliaryBranch(self.backbone, k, num_classes, self.head.init_cfg, head=self.head)
            for k in range(1, num_stages)
        )
        if self.logit_weight['cls_h'] > 0 or self.logit_weight['f_logit'] > 0:
            self.self_teacher = SelfTeacher(len(self.teacher_stages), channels, num_classes)
            # Only Eq. (11) trains h. Without it h keeps its random weights, as in the release's CIFAR script.
            self.self_teacher.requires_grad_(self.logit_weight['cls_h'] > 0)
        if self.dis_weight > 0:
            discriminator = {'type': 'Discriminator', **(discriminator or {})}
            self.discriminators = ModuleList(
                MODELS.build(dict(discriminator, in_channels=channels)) for _ in range(num_stages)
            )
        self.feature_loss = build_loss(feature_loss, 'FeatureLoss')
        self.dis_loss = build_loss(dis_loss, 'DiscriminatorLoss')
        self.kd_loss = build_loss(kd_loss, 'KDLoss', temperature=self.temperature)

    def losses(
        self, inputs: Tensor, labels: Tensor, mixture: Mixture, data_samples: list[DataSample]
    ) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
        """The weighted terms of Eq. (13), whose sum is L_MixSKD, and top-1 in percent of each head on clean images.

        The terms are ``loss_cls``, ``loss_feature``, ``loss_dis``, ``loss_b_logit``, ``loss_cls_h`` and ``loss_f_logit``.
        """
        weight = self.logit_weight
        losses: dict[str, Tensor] = {}

        # Eq. (4): x~ = lam x_i + (1 - lam) x_j. One forward of the N clean and the N mixed images.
        images = torch.cat([inputs, mixture(inputs)])

        # Eq. (2): F_k = zeta_k o phi_k o ... o phi_1 for k < K, F_K = phi.
        stages = stage_outputs(self.backbone, images)
        features = [branch(stage) for branch, stage in zip(self.branches, stages, strict=False)] + [stages[-1]]
        pooled = [global_average_pool(feature) for feature in features]

        # Eq. (1): logits of b_1, ..., b_{K-1} and f.
        b_logits = [full_precision(branch.classify(p)) for branch, p in zip(self.branches, pooled, strict=False)]
        f_logits = self.classify(features[-1])

        # Eq. (3) and (5): cross-entropy of every head on x_i, x_j and x~. x_j is the same batch in another order.
        loss_cls = 0.0
        for logits in (*b_logits, f_logits):
            clean, mixed = halves(logits)
            if self.clean_weight > 0:
                loss_cls = loss_cls + self.clean_weight * cross_entropy(clean, labels)
            if self.mixed_weight > 0:
                loss_cls = loss_cls + self.mixed_weight * self.mixed_loss(mixed, labels, mixture)
        if self.clean_weight > 0 or self.mixed_weight > 0:
            losses['loss_cls'] = loss_cls

        # Eq. (6) and (7): interpolated maps F~_k against the mixed images' maps.
        if self.feature_weight > 0:
            loss_feature = 0.0
            for feature in features:
                clean, mixed = halves(feature)
                loss_feature = loss_feature + self.feature_loss(mixture(clean), mixed)
            losses['loss_feature'] = self.feature_weight * loss_feature

        # GAP(F~_k).
        pooled_interpolated = [interpolate_and_pool(mixture, feature, p) for feature, p in zip(features, pooled)]

        # Eq. (8).
        if self.dis_weight > 0:
            loss_dis = 0.0
            for discriminator, interpolated, p in zip(self.discriminators, pooled_interpolated, pooled, strict=True):
                _, mixed = halves(p)
                loss_dis = loss_dis + self.dis_loss(discriminator(interpolated), discriminator(mixed))
            losses['loss_dis'] = self.dis_weight * loss_dis

        # Eq. (9) and (10): interpolated and mixed logits of each branch teach each other.
        if weight['b_logit'] > 0:
            loss_b_logit = 0.0
            for logits in b_logits:
                clean, mixed = halves(logits)
                interpolated = mixture(clean)
                loss_b_logit = loss_b_logit + self.kd_loss(interpolated, mixed) + self.kd_loss(mixed, interpolated)
            losses['loss_b_logit'] = weight['b_logit'] * loss_b_logit

        # The self-teacher on clean and mixed images.
        h_logits = None
        if weight['cls_h'] > 0 or weight['f_logit'] > 0:
            h_logits = full_precision(self.self_teacher([pooled[k - 1] for k in self.teacher_stages]))
            h_clean, h_mixed = halves(h_logits)
            if mixture.commutes_with_pooling:
                # h is affine, so h(F~) is the interpolation of h(F).
                h_interpolated = mixture(h_clean)
            else:
                h_interpolated = full_precision(
                    self.self_teacher([pooled_interpolated[k - 1] for k in self.teacher_stages])
                )

        # Eq. (11): both views of h learn the interpolated label.
        if weight['cls_h'] > 0:
            losses['loss_cls_h'] = weight['cls_h'] * (
                self.mixed_loss(h_interpolated, labels, mixture) + self.mixed_loss(h_mixed, labels, mixture)
            )

        # Eq. (12), crossed: h on mixed images teaches the interpolated logits of f, and the other way round.
        if weight['f_logit'] > 0:
            f_clean, f_mixed = halves(f_logits)
            losses['loss_f_logit'] = weight['f_logit'] * (
                self.kd_loss(mixture(f_clean), h_mixed) + self.kd_loss(f_mixed, h_interpolated)
            )

        heads = {'f': f_logits, **{f'b{k}': logits for k, logits in enumerate(b_logits, start=1)}}
        if h_logits is not None:
            heads['h'] = h_logits
        return losses, {f'top1_{name}': top1(halves(logits)[0], labels) for name, logits in heads.items()}


def interpolate_and_pool(mixture: Mixture, feature: Tensor, pooled: Tensor) -> Tensor:
    """GAP(F~_k), ``(N, C_K)``, of ``feature`` ``(2N, C_K, H, W)``, clean images first; ``pooled`` is GAP(feature).

    Pooling commutes with one lam for the whole image, which saves mixing the map, but not with a mask.
    """
    if mixture.commutes_with_pooling:
        return mixture(halves(pooled)[0])
    return global_average_pool(mixture(halves(feature)[0]))


def check_logit_weight(logit_weight: float | dict) -> dict[str, float]:
    """One weight for each term that mu of Eq. (13) multiplies. Raises InputError for a negative or unknown one."""
    terms = ('b_logit', 'cls_h', 'f_logit')
    if not isinstance(logit_weight, dict):
        return dict.fromkeys(terms, check_number('MixSKDClassifier logit_weight', logit_weight))
    unknown = sorted(set(logit_weight) - set(terms))
    if unknown:
        raise InputError(f'MixSKDClassifier logit_weight has the terms {unknown}: expected some of {list(terms)}')
    return {term: check_number(f'MixSKDClassifier logit_weight.{term}', logit_weight.get(term, 1.0)) for term in terms}
