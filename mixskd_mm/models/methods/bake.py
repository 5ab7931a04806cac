"""BAKE: Self-distillation with Batch Knowledge Ensembling Improves ImageNet Classification (Ge et al., 2021)."""

from __future__ import annotations

from mmpretrain.registry import MODELS
from mmpretrain.structures import DataSample
from torch import Tensor
from torch.utils.data import DataLoader

from mixskd_mm.datasets import check_batches
from mixskd_mm.errors import check_number

from ..base import SelfDistillationClassifier, build_loss, top1
from ..losses import cross_entropy
from ..losses.precision import full_precision
from ..mixing import Mixture


@MODELS.register_module()
class BAKEClassifier(SelfDistillationClassifier):
    """An ``ImageClassifier`` that learns from predictions that similar images of its batch have exchanged.

    With logits z and pooled features h, the input of the classifier:

    L = CE(z, y) + lambda T^2 KL(Q || softmax(z / T)),    Q = (1 - omega) (I - omega W)^-1 softmax(z / T)

    W is the softmax, over the other images of the batch, of the cosine similarity of h
    (:func:`~mixskd_mm.models.losses.knowledge_ensemble`). Q is a target: no gradient passes through it. In a distributed run
    the batch is that of one process.

    A batch holds several images of each class, ``train_dataloader.batch_sampler=dict(type='GroupBatchSampler')``: an epoch
    then processes each image once and its M partners.

    Args:
        args: Those of :class:`SelfDistillationClassifier`. The backbone may be any.
        temperature (float): T, > 0. Defaults to 4.0.
        omega (float): Share of the other images in a step of the exchange, in [0, 1). Defaults to 0.5, the authors' value
            for CIFAR-100; it is 0.9 for some fine-grained data.
        kd_weight (float): lambda, >= 0. Defaults to 1.
        bake_loss (dict, optional): Config of T^2 KL. Defaults to ``dict(type='BAKELoss')`` with ``temperature`` and
            ``omega``; ``dict(released=True)`` is what the MixSKD authors' release computes.
        kwargs: Those of :class:`SelfDistillationClassifier`.

    Raises:
        InputError: if a value above is outside its range, or the parts do not fit together; before training, if the data
            loader gives no groups.
    """

    def __init__(
        self,
        *args,
        temperature: float = 4.0,
        omega: float = 0.5,
        kd_weight: float = 1.0,
        bake_loss: dict | None = None,
        **kwargs,
    ) -> None:
        super().__init__(*args, **kwargs)
        name = type(self).__name__
        self.kd_weight = check_number(f'{name} kd_weight', kd_weight)
        self.bake_loss = build_loss(bake_loss, 'BAKELoss', temperature=temperature, omega=omega)

    def check_loader(self, loader: DataLoader) -> None:
        """Raise InputError unless a batch is images and then others of their classes."""
        check_batches(loader, 'groups', type(self).__name__)

    def losses(
        self, inputs: Tensor, labels: Tensor, mixture: Mixture | None, data_samples: list[DataSample]
    ) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
        """``loss_cls`` and ``loss_kd``, and top-1 of z, each of all images of the batch."""
        pooled = self.extract_feat(inputs)
        logits = full_precision(self.head(pooled))
        losses = {'loss_cls': cross_entropy(logits, labels)}
        if self.kd_weight > 0:
            losses['loss_kd'] = self.kd_weight * self.bake_loss(logits, pooled[-1])
        return losses, {'top1_f': top1(logits, labels)}
