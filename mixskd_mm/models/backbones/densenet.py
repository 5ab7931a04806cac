"""DenseNet for CIFAR (Huang et al., CVPR 2017): DenseNet-40-12 of MixSKD's Table 1."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from mmpretrain.registry import MODELS
from torch import Tensor, nn

from .arguments import check_depth, check_positive_int
from .pre_activation import PreActivationBackbone, norm_relu_conv


class DenseLayer(nn.Module):
    """[x, conv3x3(ReLU(BN(x)))]: ``(N, C, H, W)`` to ``(N, C + growth_rate, H, W)``; what is new comes last."""

    def __init__(self, in_channels: int, growth_rate: int) -> None:
        super().__init__()
        self.conv = norm_relu_conv(in_channels, growth_rate, 3)

    def forward(self, x: Tensor) -> Tensor:
        return torch.cat([x, self.conv(x)], dim=1)


@MODELS.register_module()
class DenseNet_CIFAR(PreActivationBackbone):
    """DenseNet-depth-growth_rate without bottlenecks or compression: three dense blocks of n = (depth - 4) / 3 layers.

    Stages 1 and 2 are a dense block and the transition after it (BN-ReLU-conv1x1, 2 x 2 average pooling), stage 3 is the
    last dense block. For 32 x 32 images DenseNet-40-12's give ``(N, 160, 16, 16)``, ``(N, 304, 8, 8)`` and
    ``(N, 448, 8, 8)``: the branches start after a transition (MixSKD, appendix, Table 3). That table shows 1x1
    convolutions in the dense layers, which neither the depth 40 nor the paper's 1.1M parameters allow; this is the
    network that has both, with 1,060,132 parameters for 100 classes.

    Args:
        depth (int): 3n + 4. Defaults to 40.
        growth_rate (int): Channels that a layer adds, >= 1. Defaults to 12.
        out_indices (Sequence[int]): Outputs of which stages ``forward`` returns, 0-based. Defaults to (2,).
        init_cfg (dict | list[dict], optional): Initialisation. Defaults to None: He's.

    Raises:
        InputError: if a value above is outside its range.
    """

    def __init__(
        self,
        depth: int = 40,
        growth_rate: int = 12,
        out_indices: Sequence[int] = (2,),
        init_cfg: dict | list[dict] | None = None,
    ) -> None:
        num_layers = check_depth('DenseNet_CIFAR depth', depth, 3, 4)
        check_positive_int('DenseNet_CIFAR growth_rate', growth_rate)
        super().__init__(16, [(num_layers, growth_rate)] * 3, out_indices, init_cfg)

    def make_blocks(self, index: int, in_channels: int, blocks: int, width: int) -> tuple[nn.Sequential, int]:
        """A dense block of ``blocks`` layers and growth rate ``width``, and, but for the last, the transition after it."""
        stage = nn.Sequential(*(DenseLayer(in_channels + i * width, width) for i in range(blocks)))
        channels = in_channels + blocks * width
        if index < 2:
            stage.add_module('transition', nn.Sequential(norm_relu_conv(channels, channels, 1), nn.AvgPool2d(2)))
        return stage, channels
