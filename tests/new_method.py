"""A method that this package does not have, as somebody would write it; ``custom_imports`` names this file."""

from __future__ import annotations

from mmpretrain.registry import MODELS
from torch import nn

from mixskd_mm.models import SelfDistillationClassifier
from mixskd_mm.models.losses import cross_entropy, kd_loss


@MODELS.register_module()
class NewMethodClassifier(SelfDistillationClassifier):
    """Learns also from a second classifier on the same features."""

    def __init__(self, *args, kd_weight: float = 1.0, **kwargs) -> None:
        super().__init__(*args, **kwargs)
        self.kd_weight = kd_weight
        self.second = nn.Linear(self.head.in_channels, self.head.num_classes)

    def losses(self, inputs, labels, mixture, data_samples):
        feature = self.backbone(inputs)[-1]
        logits, second = self.classify(feature), self.second(feature.mean((2, 3)))
        losses = {
            'loss_cls': cross_entropy(logits, labels),
            'loss_second': cross_entropy(second, labels),
            'loss_kd': self.kd_weight * kd_loss(logits, second, 4.0),
        }
        return losses, {'top1_second': (second.argmax(1) == labels).float().mean() * 100}
