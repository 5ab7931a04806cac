"""CS-KD: Regularizing Class-wise Predictions via Self-knowledge Distillation (Yun et al., CVPR 2020)."""

from __future__ import annotations

import torch
from mmpretrain.registry import MODELS
from mmpretrain.structures import DataSample
from torch import Tensor
from torch.utils.data import DataLoader

from mixskd_mm.datasets import check_batches
from mixskd_mm.errors import check_number

from ..base import SelfDistillationClassifier, build_loss, check_halves, halves, top1
from ..mixing import Mixture


@MODELS.register_module()
class CSKDClassifier(SelfDistillationClassifier):
    """An ``ImageClassifier`` that learns from its prediction for another image of the same class.

    With x' the partner of image x:

    L = CE(z(x), y) + lambda KD(z(x), z(x'))

    KD is T^2 KL(softmax(z(x') / T) || softmax(z(x) / T)). As in the authors' code the partners are forwarded on their own,
    in training mode without gradient: BatchNorm normalises them with their own statistics, and updates its running ones
    twice per step.

    With a ``MixupDataPreprocessor``, "CS-KD + Mixup", anchors and partners are mixed alike: x~ = lam x_i + (1 - lam) x_j,
    x~' = lam x'_i + (1 - lam) x'_j. CE is against the mixed labels and KD compares z(x~) with z(x~'). Nothing was published
    on how it is done, so this is a choice.

    A batch is B images and then their B partners, ``train_dataloader.batch_sampler=dict(type='PairBatchSampler')``.

    Args:
        args: Those of :class:`SelfDistillationClassifier`. The backbone may be any.
        temperature (float): T, > 0. Defaults to 4.0.
        kd_weight (float): lambda, >= 0. Defaults to 1, the authors' value for CIFAR-100; it is 3 for fine-grained data. With
            0, partners are not forwarded.
        kd_loss (dict, optional): Config of KD. Defaults to ``dict(type='KDLoss')`` with ``temperature``.
        kwargs: Those of :class:`SelfDistillationClassifier`.

    Raises:
        InputError: if a value above is outside its range, or the parts do not fit together; before training, if the data
            loader gives no pairs.
    """

    mixing = 'optional'

    def __init__(
        self, *args, temperature: float = 4.0, kd_weight: float = 1.0, kd_loss: dict | None = None, **kwargs
    ) -> None:
        super().__init__(*args, **kwargs)
        name = type(self).__name__
        self.temperature = check_number(f'{name} temperature', temperature, positive=True)
        self.kd_weight = check_number(f'{name} kd_weight', kd_weight)
        self.kd_loss = build_loss(kd_loss, 'KDLoss', temperature=self.temperature)
        if self.mixes:
            # Images and partners.
            self.data_preprocessor.parts = 2

    def check_loader(self, loader: DataLoader) -> None:
        """Raise InputError unless a batch is images and then their partners."""
        check_batches(loader, 'pairs', type(self).__name__)

    def losses(
        self, inputs: Tensor, labels: Tensor, mixture: Mixture | None, data_samples: list[DataSample]
    ) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
        """``loss_cls`` and ``loss_kd``, and top-1 of z on clean images.

        Args:
            inputs (Tensor): Images x, then partners x', ``(2B, 3, H, W)``.
            labels (Tensor): Their class indices, ``(2B, )``.
            mixture (Mixture | None): How B images are mixed.
            data_samples (list[DataSample]): Not used.
        """
        check_halves(type(self).__name__, inputs, 'a partner for each')
        images, partners = halves(inputs)
        labels, _ = halves(labels)
        if mixture is not None:
            images, partners = mixture(images), mixture(partners)
        logits = self.classify(self.feature_map(images))
        losses = {'loss_cls': self.cross_entropy(logits, labels, mixture)}
        if self.kd_weight > 0:
            with torch.no_grad():
                partner_logits = self.classify(self.feature_map(partners))
            losses['loss_kd'] = self.kd_weight * self.kd_loss(logits, partner_logits)
        return losses, {'top1_f': top1(logits, labels)} if mixture is None else {}
