"""DDGSD: Data-Distortion Guided Self-Distillation for Deep Neural Networks (Xu and Liu, AAAI 2019)."""

from __future__ import annotations

from mmpretrain.registry import MODELS
from mmpretrain.structures import DataSample
from torch import Tensor
from torch.utils.data import DataLoader

from mixskd_mm.datasets.loader_checks import check_batches
from mixskd_mm.errors import check_number

from ..base import SelfDistillationClassifier, build_loss, check_halves, halves, top1
from ..losses import cross_entropy
from ..losses.precision import full_precision
from ..mixing import Mixture


@MODELS.register_module()
class DDGSDClassifier(SelfDistillationClassifier):
    """An ``ImageClassifier`` in which two distorted views a and b of each image teach each other.

    With logits z and pooled features h, those that the classifier reads:

    L = [CE(z_a, y) + CE(z_b, y)] / 2 + lambda [KD(z_a, z_b) + KD(z_b, z_a)] + mu ||mean_n h_a - mean_n h_b||^2

    KD(z_a, z_b) is T^2 KL(softmax(z_b / T) || softmax(z_a / T)) and teaches z_a alone. The last term, the maximum mean
    discrepancy, draws both views together. One forward of all 2N views. The article counts the sum of both cross-entropies,
    as far as is known; their mean is that of a plain classifier on the same 2N images.

    The training loader gives N images in two views each: ``collate_two_views`` or ``TwoViewBatchSampler``.

    Args:
        args: Those of :class:`SelfDistillationClassifier`. Any backbone.
        temperature (float): T of KD, > 0. Defaults to 4.0, the MixSKD authors'.
        kd_weight (float): lambda, >= 0. Defaults to 1.
        mmd_weight (float): mu, >= 0. Defaults to 5e-4; the article has 1e-4 to 5e-4.
        released (bool): The MixSKD authors' loss: half the cross-entropy above, and a discrepancy that is averaged over
            channels before it is squared. Defaults to False.
        kd_loss (dict, optional): Config of KD. Defaults to ``dict(type='KDLoss')`` with ``temperature``.
        mmd_loss (dict, optional): Config of the discrepancy. Defaults to ``dict(type='MMDLoss')`` with ``released``.
        kwargs: Those of :class:`SelfDistillationClassifier`.

    Raises:
        InputError: if a value above is outside its range, the parts do not fit together, or a batch has an odd length.
    """

    def __init__(
        self,
        *args,
        temperature: float = 4.0,
        kd_weight: float = 1.0,
        mmd_weight: float = 5e-4,
        released: bool = False,
        kd_loss: dict | None = None,
        mmd_loss: dict | None = None,
        **kwargs,
    ) -> None:
        super().__init__(*args, **kwargs)
        name = type(self).__name__
        self.temperature = check_number(f'{name} temperature', temperature, positive=True)
        self.kd_weight = check_number(f'{name} kd_weight', kd_weight)
        self.mmd_weight = check_number(f'{name} mmd_weight', mmd_weight)
        self.released = released
        self.kd_loss = build_loss(kd_loss, 'KDLoss', temperature=self.temperature)
        self.mmd_loss = build_loss(mmd_loss, 'MMDLoss', released=released)

    def check_loader(self, loader: DataLoader) -> None:
        """Raise InputError unless ``loader`` gives two views of each image."""
        check_batches(loader, 'two views', type(self).__name__)

    def losses(
        self, inputs: Tensor, labels: Tensor, mixture: Mixture | None, data_samples: list[DataSample]
    ) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
        """``loss_cls``, ``loss_kd`` and ``loss_mmd``, and top-1 of all views.

        ``inputs`` are ``(2N, 3, H, W)``: all first views, then all second ones in the same order.
        """
        check_halves(type(self).__name__, inputs, 'two views of each')
        features = self.extract_feat(inputs)
        logits = full_precision(self.head(features))

        # The mean over 2N views.
        loss_cls = cross_entropy(logits, labels)
        losses = {'loss_cls': loss_cls / 2 if self.released else loss_cls}
        z_a, z_b = halves(logits)
        if self.kd_weight > 0:
            losses['loss_kd'] = self.kd_weight * (self.kd_loss(z_a, z_b) + self.kd_loss(z_b, z_a))
        if self.mmd_weight > 0:
            h_a, h_b = halves(self.head.pre_logits(features))
            losses['loss_mmd'] = self.mmd_weight * self.mmd_loss(h_a, h_b)
        return losses, {'top1_f': top1(logits, labels)}
