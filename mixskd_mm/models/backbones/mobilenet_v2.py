"""MobileNetV2 (Sandler et al., CVPR 2018) for 32 x 32 images, of SuperMix's supplement."""

from __future__ import annotations

from collections.abc import Sequence

from mmpretrain.registry import MODELS
from torch import Tensor, nn

from mixskd_mm.errors import check_number

from .mobilenet import conv_norm_relu
from .staged import StagedBackbone

# Expansion, channels, blocks and stride of the first block; one stage per resolution.
STAGES = (
    ((1, 16, 1, 1), (6, 24, 2, 1)),
    ((6, 32, 3, 2),),
    ((6, 64, 4, 2), (6, 96, 3, 1)),
    ((6, 160, 3, 2), (6, 320, 1, 1)),
)


class InvertedResidual(nn.Module):
    """1x1, depthwise 3x3 and linear 1x1 convolution, each with BN; the input is added where the shape stays.

    Args:
        in_channels (int): C.
        out_channels (int): C'.
        stride (int): Of the depthwise convolution.
        expansion (int): Factor of C inside; also with 1 there is a 1x1 convolution, other than in mmpretrain's block.
    """

    def __init__(self, in_channels: int, out_channels: int, stride: int, expansion: int) -> None:
        super().__init__()
        self.adds = stride == 1 and in_channels == out_channels
        inner = in_channels * expansion
        self.expand = conv_norm_relu(in_channels, inner, 1)
        self.depthwise = conv_norm_relu(inner, inner, 3, stride=stride, groups=inner)
        self.project = nn.Sequential(nn.Conv2d(inner, out_channels, 1, bias=False), nn.BatchNorm2d(out_channels))

    def forward(self, x: Tensor) -> Tensor:
        own = self.project(self.depthwise(self.expand(x)))
        return own + x if self.adds else own


@MODELS.register_module()
class MobileNetV2_CIFAR(StagedBackbone):
    """MobileNetV2 as in CRD (Tian et al., ICLR 2020): two strides less than on ImageNet, ReLU in the place of ReLU6.

    For 32 x 32 images the four stages give maps of 16, 8, 4 and 2 pixels; the last ends with the 1x1 convolution to 1,280
    channels, which is not narrowed. With width factor 0.5 and 100 classes it has 812,836 parameters. mmpretrain's
    ``MobileNetV2`` rounds the channels to multiples of 8.

    Args:
        widen_factor (float): Factor of all other channels, which are rounded down, > 0. Defaults to 0.5.
        out_indices (Sequence[int]): Outputs of which stages ``forward`` returns, 0-based. Defaults to (3,).
        init_cfg (dict | list[dict], optional): Initialisation. Defaults to None: He's.

    Raises:
        InputError: if a value above is outside its range.
    """

    def __init__(
        self,
        widen_factor: float = 0.5,
        out_indices: Sequence[int] = (3,),
        init_cfg: dict | list[dict] | None = None,
    ) -> None:
        self.widen_factor = check_number('MobileNetV2_CIFAR widen_factor', widen_factor, positive=True)
        stem = self.narrow(32)
        super().__init__(
            conv_norm_relu(3, stem, 3, stride=2), stem, [(rows,) for rows in STAGES], out_indices, init_cfg
        )

    def narrow(self, channels: int) -> int:
        """``channels`` times the width factor, at least 1."""
        return max(int(channels * self.widen_factor), 1)

    def make_stage(self, index: int, in_channels: int, rows: Sequence[tuple]) -> tuple[nn.Sequential, int]:
        """The inverted residuals of the ``rows``, and for the last index the final convolution."""
        blocks = []
        for expansion, channels, number, stride in rows:
            width = self.narrow(channels)
            for i in range(number):
                blocks.append(InvertedResidual(in_channels, width, stride if i == 0 else 1, expansion))
                in_channels = width
        if index == len(STAGES) - 1:
            blocks.append(conv_norm_relu(in_channels, 1280, 1))
            in_channels = 1280
        return nn.Sequential(*blocks), in_channels
