"""The self-teacher h: a classifier on the feature maps of several stages together."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from mmengine.model import BaseModule
from mmpretrain.registry import MODELS
from torch import Tensor, nn


@MODELS.register_module()
class SelfTeacher(BaseModule):
    """h = g_h(GAP(Conv1x1([F_1, ..., F_K]))): concatenate, shrink the channels, pool, classify (MixSKD, section 3.4).

    The 1x1 convolution has no bias, norm or activation, so it commutes with the pooling: h reads maps that are already
    pooled. For the same reason h is affine, and h of interpolated features is the interpolation of h.

    Args:
        num_features (int): How many maps it reads (K with all stages).
        in_channels (int): Channels C_K of each.
        num_classes (int): Number of classes.
    """

    def __init__(self, num_features: int, in_channels: int, num_classes: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(num_features * in_channels, in_channels, kernel_size=1, bias=False)
        self.fc = nn.Linear(in_channels, num_classes)

    def forward(self, pooled: Sequence[Tensor]) -> Tensor:
        """Pooled features, ``num_features`` times ``(N, in_channels)``, to logits ``(N, num_classes)``."""
        features = torch.cat(list(pooled), dim=1)
        return self.fc(self.conv(features[:, :, None, None]).flatten(1))
