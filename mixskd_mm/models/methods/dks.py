"""DKS: Deeply-Supervised Knowledge Synergy (Sun et al., CVPR 2019)."""

from __future__ import annotations

from collections.abc import Sequence

from mmengine.model import ModuleList
from mmpretrain.models.backbones import ResNet
from mmpretrain.registry import MODELS
from mmpretrain.structures import DataSample
from torch import Tensor, nn

from mixskd_mm.errors import check_number

from ..backbones import WideResNet_CIFAR
from ..base import SelfDistillationClassifier, build_loss, top1
from ..branches import copy_or_make_branches, stage_channels, wide_resnet
from ..losses import cross_entropy, cross_stage_loss
from ..losses.precision import full_precision
from ..mixing import Mixture
from ..stages import check_stages, global_average_pool, stage_names, stage_outputs


@MODELS.register_module()
class DKSClassifier(SelfDistillationClassifier):
    """An ``ImageClassifier`` whose m classifiers, its own and those of auxiliary branches, all teach each other.

    With logits z_1 ... z_m:

    L = sum_i CE(z_i, y) + sum_{i != j} KL(q_j || q_i),    q = (softmax(z) + 1e-8) / (1 + C 1e-8)

    q_j teaches and is detached; there is no temperature. The pairs are those of the authors' code. The MixSKD authors have
    T^2 KL(softmax(z_j / T) || softmax(z_i / T)) with T = 4: ``pair_loss=dict(type='KDLoss', temperature=4.0)``.

    A branch continues the output of a hidden stage with later stages of its own: on WRN those of the authors' code, on
    ResNet-18 those of the MixSKD authors' library, else copies of the network's (:func:`branch_layout`). What only training
    needs lies under the key ``branches.``.

    Args:
        args: Those of :class:`SelfDistillationClassifier`. The backbone must be one that can be cut into stages
            (:mod:`mixskd_mm.models.stages`).
        branch_stages (Sequence[int], optional): Stages that a branch continues, 1-based, without the last. Defaults to None:
            the last two of them, as in the article, whose ImageNet networks have branches after conv3_x and conv4_x.
        cls_branch_weight (float): Weight of the branches' cross-entropies, >= 0. Defaults to 1.
        pair_weight (float): Weight of the sum over pairs, >= 0. Defaults to 1.
        pair_loss (dict, optional): Config of KL for one pair. Defaults to ``dict(type='SmoothedKLLoss')``.
        kwargs: Those of :class:`SelfDistillationClassifier`.

    Raises:
        InputError: if a value above is outside its range, or the parts do not fit together.
    """

    def __init__(
        self,
        *args,
        branch_stages: Sequence[int] | None = None,
        cls_branch_weight: float = 1.0,
        pair_weight: float = 1.0,
        pair_loss: dict | None = None,
        **kwargs,
    ) -> None:
        super().__init__(*args, **kwargs)
        name = type(self).__name__
        self.cls_branch_weight = check_number(f'{name} cls_branch_weight', cls_branch_weight)
        self.pair_weight = check_number(f'{name} pair_weight', pair_weight)
        num_stages = len(stage_names(self.backbone))
        if branch_stages is None:
            branch_stages = range(1, num_stages)[-2:]
        branch_stages = check_stages(f'{name} branch_stages', branch_stages, num_stages, at_least=1, hidden=True)
        self.branches = ModuleList()
        if self.cls_branch_weight > 0 or self.pair_weight > 0:
            self.branches = copy_or_make_branches(self, branch_stages, branch_layout)
        self.pair_loss = build_loss(pair_loss, 'SmoothedKLLoss')

    def losses(
        self, inputs: Tensor, labels: Tensor, mixture: Mixture | None, data_samples: list[DataSample]
    ) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
        """``loss_cls``, ``loss_cls_branch`` and ``loss_pair``, and top-1 of each classifier; b<k> continues stage k."""
        stages = stage_outputs(self.backbone, inputs)
        logits = {'f': self.classify(stages[-1])}
        for branch in self.branches:
            pooled = global_average_pool(branch(stages[branch.start - 1]))
            logits[f'b{branch.start}'] = full_precision(branch.classify(pooled))

        f_logits, *b_logits = z = list(logits.values())
        losses = {'loss_cls': cross_entropy(f_logits, labels)}
        if self.cls_branch_weight > 0:
            losses['loss_cls_branch'] = self.cls_branch_weight * sum(cross_entropy(b, labels) for b in b_logits)
        # The sum over i != j. The pair loss detaches the teacher z_j.
        if self.pair_weight > 0:
            losses['loss_pair'] = self.pair_weight * cross_stage_loss(z, z, self.pair_loss)
        return losses, {f'top1_{name}': top1(one, labels) for name, one in logits.items()}


def branch_layout(backbone: nn.Module, k: int) -> list[tuple[int, int]] | None:
    """(blocks, width) of each stage of the branch that continues stage k; None for copies of the network's stages.

    WRN: one branch has half the blocks in its last stage, the other twice the width (the code of DKS, and DCM's Table 3).
    ResNet-18: one block fewer after stage 2 (the MixSKD authors' library).
    """
    if isinstance(backbone, WideResNet_CIFAR):
        return dict(wide_resnet(backbone).values())[k]
    if isinstance(backbone, ResNet) and backbone.depth == 18 and k == backbone.num_stages - 2:
        *_, c3, c4 = stage_channels(backbone)
        return [(1, c3), (2, c4)]
    return None
