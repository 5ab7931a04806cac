"""SAD: Learning Lightweight Lane Detection CNNs by Self Attention Distillation (Hou et al., ICCV 2019)."""

from __future__ import annotations

from itertools import pairwise

from mmpretrain.registry import MODELS
from mmpretrain.structures import DataSample
from torch import Tensor

from mixskd_mm.errors import check_number

from ..base import SelfDistillationClassifier, build_loss, top1
from ..losses import cross_entropy
from ..mixing import Mixture
from ..stages import stage_names, stage_outputs


@MODELS.register_module()
class SADClassifier(SelfDistillationClassifier):
    """An ``ImageClassifier`` in which the attention map of each stage learns from that of the next.

    With the outputs F_1 ... F_K of the stages:

    L = CE(z, y) + w sum_{k < K} mean_{n, pixels} (A(F_k) - A(F_{k+1}))^2

    A(F) is the spatial softmax of the channels' summed squares, which are resized to the height and width of F_k before it.
    F_{k+1} teaches and is detached. Nothing is added to the network.

    The article's subject is lane detection, and its authors switch the second term on in a second stage of training, after
    40,000 iterations: ``load_from`` a checkpoint of the plain network. Here it counts from the first, as in the MixSKD
    authors' tables.

    Args:
        args: Those of :class:`SelfDistillationClassifier`. The backbone must be one that can be cut into stages
            (:mod:`mixskd_mm.models.stages`).
        attention_weight (float, optional): w, >= 0. Defaults to None: 0.1, the authors' value; with ``released`` 1000.
        released (bool): The MixSKD authors' loss: maps are resized before they are squared, squares are averaged over
            channels instead of summed, and w is 1000. Defaults to False.
        attention_loss (dict, optional): Config of the sum's term k. Defaults to ``dict(type='SADLoss')`` with ``released``.
        kwargs: Those of :class:`SelfDistillationClassifier`.

    Raises:
        InputError: if a value above is outside its range, or the parts do not fit together.
    """

    def __init__(
        self,
        *args,
        attention_weight: float | None = None,
        released: bool = False,
        attention_loss: dict | None = None,
        **kwargs,
    ) -> None:
        super().__init__(*args, **kwargs)
        # Raises if the backbone cannot be cut.
        stage_names(self.backbone)
        if attention_weight is None:
            attention_weight = 1000.0 if released else 0.1
        self.attention_weight = check_number(f'{type(self).__name__} attention_weight', attention_weight)
        self.attention_loss = build_loss(attention_loss, 'SADLoss', released=released)

    def losses(
        self, inputs: Tensor, labels: Tensor, mixture: Mixture | None, data_samples: list[DataSample]
    ) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
        """``loss_cls`` and ``loss_attention``, and top-1."""
        stages = stage_outputs(self.backbone, inputs)
        logits = self.classify(stages[-1])
        losses = {'loss_cls': cross_entropy(logits, labels)}
        # The loss detaches the deeper stage.
        if self.attention_weight > 0:
            loss_attention = sum(self.attention_loss(shallow, deep) for shallow, deep in pairwise(stages))
            losses['loss_attention'] = self.attention_weight * loss_attention
        return losses, {'top1_f': top1(logits, labels)}
