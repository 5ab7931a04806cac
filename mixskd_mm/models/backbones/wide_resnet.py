"""Wide residual networks (Zagoruyko and Komodakis, BMVC 2016): WRN-16-2 of MixSKD's Table 1."""

from __future__ import annotations

from collections.abc import Sequence

from mmpretrain.registry import MODELS
from torch import Tensor, nn

from .arguments import check_depth, check_positive_int
from .pre_activation import PreActivationBackbone, norm_relu_conv


class PreActivationBlock(nn.Module):
    """BN-ReLU-conv3x3-BN-ReLU-conv3x3 plus a shortcut: ``(N, C, H, W)`` to ``(N, C', H / stride, W / stride)``.

    Where the shape changes, the shortcut is a 1x1 convolution of the activated input; elsewhere it is the input itself.

    Args:
        in_channels (int): C.
        out_channels (int): C'.
        stride (int): Of the first convolution and the shortcut.
        bias (bool): Whether convolutions have biases. Defaults to False.
    """

    def __init__(self, in_channels: int, out_channels: int, stride: int, bias: bool = False) -> None:
        super().__init__()
        self.norm1 = nn.BatchNorm2d(in_channels)
        self.relu = nn.ReLU(inplace=True)
        self.conv1 = nn.Conv2d(in_channels, out_channels, 3, stride=stride, padding=1, bias=bias)
        self.residual = norm_relu_conv(out_channels, out_channels, 3, bias=bias)
        self.shortcut = None
        if in_channels != out_channels or stride != 1:
            self.shortcut = nn.Conv2d(in_channels, out_channels, 1, stride=stride, bias=bias)

    def forward(self, x: Tensor) -> Tensor:
        activated = self.relu(self.norm1(x))
        shortcut = x if self.shortcut is None else self.shortcut(activated)
        return self.residual(self.conv1(activated)) + shortcut


@MODELS.register_module()
class WideResNet_CIFAR(PreActivationBackbone):
    """WRN-depth-widen_factor: three groups of n pre-activation blocks, n = (depth - 4) / 6, without dropout.

    For 32 x 32 images and k = ``widen_factor`` the stages give ``(N, 16k, 32, 32)``, ``(N, 32k, 16, 16)`` and
    ``(N, 64k, 8, 8)`` (MixSKD, appendix, Table 2). With 100 classes WRN-16-2 has 703,284 parameters.

    Args:
        depth (int): 6n + 4. Defaults to 16.
        widen_factor (int): k >= 1. Defaults to 2.
        out_indices (Sequence[int]): Outputs of which stages ``forward`` returns, 0-based. Defaults to (2,).
        init_cfg (dict | list[dict], optional): Initialisation. Defaults to None: He's.
        conv_bias (bool): Whether convolutions have biases, as in the classification part of SuperMix's supplement. Defaults
            to False.

    Raises:
        InputError: if a value above is outside its range.
    """

    def __init__(
        self,
        depth: int = 16,
        widen_factor: int = 2,
        out_indices: Sequence[int] = (2,),
        init_cfg: dict | list[dict] | None = None,
        conv_bias: bool = False,
    ) -> None:
        num_blocks = check_depth('WideResNet_CIFAR depth', depth, 6, 4)
        k = check_positive_int('WideResNet_CIFAR widen_factor', widen_factor)
        self.conv_bias = conv_bias
        settings = [(num_blocks, width * k) for width in (16, 32, 64)]
        super().__init__(16, settings, out_indices, init_cfg, conv_bias)

    def make_blocks(self, index: int, in_channels: int, blocks: int, width: int) -> tuple[nn.Sequential, int]:
        """``blocks`` pre-activation blocks of ``width`` channels."""
        bias = self.conv_bias
        first = PreActivationBlock(in_channels, width, (1, 2, 2)[index], bias)
        return nn.Sequential(first, *(PreActivationBlock(width, width, 1, bias) for _ in range(blocks - 1))), width
