"""ShuffleNets for 32 x 32 images, of SuperMix's supplement: V1 (Zhang et al., CVPR 2018) and V2 (Ma et al., ECCV 2018)."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from mmpretrain.models.backbones.shufflenet_v2 import InvertedResidual
from mmpretrain.models.utils import channel_shuffle
from mmpretrain.registry import MODELS
from torch import Tensor, nn

from .mobilenet import conv_norm_relu
from .staged import StagedBackbone

STEM = 24


class ShuffleUnit(nn.Module):
    """The unit of ShuffleNetV1: grouped 1x1, shuffle, depthwise 3x3 and grouped 1x1 convolutions beside a shortcut.

    As in CRD a ReLU follows the depthwise convolution, too. With stride 2 the average-pooled input is not added but
    concatenated, and counts to the output's channels.

    Args:
        in_channels (int): C.
        out_channels (int): C'.
        stride (int): 1 or 2.
        groups (int): Of the 1x1 convolutions.
        first_groups (int): Of the first of them.
    """

    def __init__(self, in_channels: int, out_channels: int, stride: int, groups: int, first_groups: int) -> None:
        super().__init__()
        self.stride = stride
        self.first_groups = first_groups
        own = out_channels - in_channels if stride == 2 else out_channels
        inner = own // 4
        self.reduce = conv_norm_relu(in_channels, inner, 1, groups=first_groups)
        self.depthwise = conv_norm_relu(inner, inner, 3, stride=stride, groups=inner)
        self.expand = nn.Sequential(nn.Conv2d(inner, own, 1, groups=groups, bias=False), nn.BatchNorm2d(own))

    def forward(self, x: Tensor) -> Tensor:
        own = channel_shuffle(self.reduce(x), self.first_groups)
        own = self.expand(self.depthwise(own))
        if self.stride == 2:
            return F.relu(torch.cat([own, F.avg_pool2d(x, 3, stride=2, padding=1)], dim=1))
        return F.relu(own + x)


@MODELS.register_module()
class ShuffleNetV1_CIFAR(StagedBackbone):
    """ShuffleNetV1 as in CRD (Tian et al., ICLR 2020): a 1x1 convolution without stride or pooling as stem, 3 groups.

    For 32 x 32 images the stages give ``(N, 240, 16, 16)``, ``(N, 480, 8, 8)`` and ``(N, 960, 4, 4)``. With 100 classes it
    has 949,258 parameters.

    Args:
        out_indices (Sequence[int]): Outputs of which stages ``forward`` returns, 0-based. Defaults to (2,).
        init_cfg (dict | list[dict], optional): Initialisation. Defaults to None: He's.

    Raises:
        InputError: if ``out_indices`` are not different stages.
    """

    def __init__(self, out_indices: Sequence[int] = (2,), init_cfg: dict | list[dict] | None = None) -> None:
        settings = [(4, 240), (8, 480), (4, 960)]
        super().__init__(conv_norm_relu(3, STEM, 1), STEM, settings, out_indices, init_cfg)

    def make_stage(self, index: int, in_channels: int, blocks: int, width: int) -> tuple[nn.Sequential, int]:
        """``blocks`` units of ``width`` channels."""
        # Groups of the stem's few channels would be too small.
        first = ShuffleUnit(in_channels, width, 2, groups=3, first_groups=1 if in_channels == STEM else 3)
        rest = [ShuffleUnit(width, width, 1, groups=3, first_groups=3) for _ in range(blocks - 1)]
        return nn.Sequential(first, *rest), width


@MODELS.register_module()
class ShuffleNetV2_CIFAR(StagedBackbone):
    """ShuffleNetV2 1x as in CRD (Tian et al., ICLR 2020): a 1x1 convolution without stride or pooling as stem.

    For 32 x 32 images the stages give ``(N, 116, 16, 16)``, ``(N, 232, 8, 8)`` and ``(N, 1024, 4, 4)``; the last ends with
    the 1x1 convolution to 1,024 channels. The units are mmpretrain's. With 100 classes it has 1,355,528 parameters.

    Args:
        out_indices (Sequence[int]): Outputs of which stages ``forward`` returns, 0-based. Defaults to (2,).
        init_cfg (dict | list[dict], optional): Initialisation. Defaults to None: He's.

    Raises:
        InputError: if ``out_indices`` are not different stages.
    """

    def __init__(self, out_indices: Sequence[int] = (2,), init_cfg: dict | list[dict] | None = None) -> None:
        settings = [(4, 116), (8, 232), (4, 464)]
        super().__init__(conv_norm_relu(3, STEM, 1), STEM, settings, out_indices, init_cfg)

    def make_stage(self, index: int, in_channels: int, blocks: int, width: int) -> tuple[nn.Sequential, int]:
        """``blocks`` units of ``width`` channels, and for the last index the final convolution."""
        units = [InvertedResidual(in_channels, width, stride=2)]
        units += [InvertedResidual(width, width) for _ in range(blocks - 1)]
        if index < 2:
            return nn.Sequential(*units), width
        return nn.Sequential(*units, conv_norm_relu(width, 1024, 1)), 1024
