"""BYOT: Be Your Own Teacher (Zhang et al., ICCV 2019)."""

from __future__ import annotations

from collections.abc import Sequence

from mmengine.model import ModuleList
from mmpretrain.models.backbones import ResNet
from mmpretrain.registry import MODELS
from mmpretrain.structures import DataSample
from torch import Tensor, nn

from mixskd_mm.errors import check_number

from ..base import SelfDistillationClassifier, build_loss, top1
from ..branches import copy_or_make_branches, stage_channels
from ..losses import cross_entropy
from ..losses.precision import full_precision
from ..mixing import Mixture
from ..stages import check_stages, global_average_pool, stage_names, stage_outputs


@MODELS.register_module()
class BYOTClassifier(SelfDistillationClassifier):
    """An ``ImageClassifier`` whose deepest classifier teaches shallow ones, by its logits and its last feature map.

    With logits z_k and maps F_k of the shallow classifiers, z_K and F_K of the network:

    L = CE(z_K, y) + sum_{k < K} [(1 - alpha) CE(z_k, y) + alpha KD(z_k, z_K) + lambda ||F_k - F_K||^2]

    KD(z_k, z_K) is T^2 KL(softmax(z_K / T) || softmax(z_k / T)); z_K and F_K are detached, so the network learns from these
    terms through the stages that it shares with the shallow classifiers. The article publishes neither alpha, lambda nor T,
    so the defaults are those of the MixSKD authors: weights of 1 in the place of 1 - alpha and alpha, T = 4, and 0.05 times
    the mean squared difference of the maps.

    A shallow classifier continues the output of a stage with later stages of its own, so that F_k has the shape of F_K: on
    ResNets one block per stage, as in the MixSKD authors' library, else copies of the network's (:func:`branch_layout`).
    What only training needs lies under the key ``branches.``.

    Args:
        args: Those of :class:`SelfDistillationClassifier`. The backbone must be one that can be cut into stages
            (:mod:`mixskd_mm.models.stages`).
        branch_stages (Sequence[int], optional): Stages that a shallow classifier continues, 1-based, without the last.
            Defaults to None: all of them, as in the article; on ResNet-18 the MixSKD authors have ``(2, 3)``.
        temperature (float): T of KD, > 0. Defaults to 4.0.
        cls_branch_weight (float): Weight of the shallow classifiers' cross-entropies, >= 0: the article's 1 - alpha.
            Defaults to 1.
        kd_weight (float): alpha, >= 0. Defaults to 1.
        feature_weight (float): lambda, >= 0. Defaults to 0.05.
        kd_loss (dict, optional): Config of KD. Defaults to ``dict(type='KDLoss')`` with ``temperature``.
        feature_loss (dict, optional): Config of the distance of F_k from F_K. Defaults to ``dict(type='HintLoss')``.
        kwargs: Those of :class:`SelfDistillationClassifier`.

    Raises:
        InputError: if a value above is outside its range, or the parts do not fit together.
    """

    def __init__(
        self,
        *args,
        branch_stages: Sequence[int] | None = None,
        temperature: float = 4.0,
        cls_branch_weight: float = 1.0,
        kd_weight: float = 1.0,
        feature_weight: float = 0.05,
        kd_loss: dict | None = None,
        feature_loss: dict | None = None,
        **kwargs,
    ) -> None:
        super().__init__(*args, **kwargs)
        name = type(self).__name__
        self.temperature = check_number(f'{name} temperature', temperature, positive=True)
        self.cls_branch_weight = check_number(f'{name} cls_branch_weight', cls_branch_weight)
        self.kd_weight = check_number(f'{name} kd_weight', kd_weight)
        self.feature_weight = check_number(f'{name} feature_weight', feature_weight)
        num_stages = len(stage_names(self.backbone))
        if branch_stages is None:
            branch_stages = range(1, num_stages)
        branch_stages = check_stages(f'{name} branch_stages', branch_stages, num_stages, at_least=1, hidden=True)
        self.branches = ModuleList()
        if self.cls_branch_weight > 0 or self.kd_weight > 0 or self.feature_weight > 0:
            self.branches = copy_or_make_branches(self, branch_stages, branch_layout)
            # Nothing else trains the shallow classifiers: then only their maps are used.
            for module in (module for branch in self.branches for module in branch.classifier()):
                module.requires_grad_(self.cls_branch_weight > 0 or self.kd_weight > 0)
        self.kd_loss = build_loss(kd_loss, 'KDLoss', temperature=self.temperature)
        self.feature_loss = build_loss(feature_loss, 'HintLoss')

    def losses(
        self, inputs: Tensor, labels: Tensor, mixture: Mixture | None, data_samples: list[DataSample]
    ) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
        """``loss_cls``, ``loss_cls_branch``, ``loss_kd`` and ``loss_feature``, and top-1 of each classifier.

        b<k> is the classifier that continues stage k.
        """
        stages = stage_outputs(self.backbone, inputs)
        F_K, z_K = stages[-1], self.classify(stages[-1])
        features = [branch(stages[branch.start - 1]) for branch in self.branches]
        logits = [
            full_precision(branch.classify(global_average_pool(F_k)))
            for branch, F_k in zip(self.branches, features, strict=True)
        ]

        losses = {'loss_cls': cross_entropy(z_K, labels)}
        if self.cls_branch_weight > 0:
            losses['loss_cls_branch'] = self.cls_branch_weight * sum(cross_entropy(z_k, labels) for z_k in logits)
        # The losses detach the teachers z_K and F_K.
        if self.kd_weight > 0:
            losses['loss_kd'] = self.kd_weight * sum(self.kd_loss(z_k, z_K) for z_k in logits)
        if self.feature_weight > 0:
            losses['loss_feature'] = self.feature_weight * sum(self.feature_loss(F_k, F_K) for F_k in features)

        logs = {'top1_f': top1(z_K, labels)}
        logs.update({f'top1_b{branch.start}': top1(z_k, labels) for branch, z_k in zip(self.branches, logits)})
        return losses, logs


def branch_layout(backbone: nn.Module, k: int) -> list[tuple[int, int]] | None:
    """(blocks, width) of each stage of the branch that continues stage k; None for copies of the network's stages.

    ResNets: one block per stage, of the network's width (the MixSKD authors' library).
    """
    if isinstance(backbone, ResNet):
        return [(1, width) for width in stage_channels(backbone)[k + 1 :]]
    return None
