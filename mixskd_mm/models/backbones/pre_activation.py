"""What the pre-activation networks for CIFAR share: a bare 3x3 convolution, three stages, a final BN-ReLU."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence

from torch import nn

from .staged import StagedBackbone


def norm_relu_conv(in_channels: int, out_channels: int, kernel_size: int, **kwargs) -> nn.Sequential:
    """BN-ReLU-Conv; the convolution has no bias and keeps height and width unless ``kwargs`` say otherwise."""
    kwargs = dict(padding=kernel_size // 2, bias=False) | kwargs
    return nn.Sequential(
        OrderedDict(
            norm=nn.BatchNorm2d(in_channels),
            relu=nn.ReLU(inplace=True),
            conv=nn.Conv2d(in_channels, out_channels, kernel_size, **kwargs),
        )
    )


class PreActivationBackbone(StagedBackbone):
    """A :class:`StagedBackbone` whose last stage ends with the network's final BN-ReLU.

    The final BN-ReLU belongs to the last stage, so that each auxiliary branch, which has later stages of its own, has one
    too, and every F_k is read after it: GAP and the classifier follow.

    Subclasses build their stages without it, in ``make_blocks``, which has the arguments of ``make_stage``.

    Args:
        stem_channels (int): Channels after ``conv1``, a 3x3 convolution.
        stage_settings (Sequence[tuple]): What ``make_blocks`` takes for each stage, first to last.
        out_indices (Sequence[int]): Outputs of which stages ``forward`` returns, 0-based.
        init_cfg (dict | list[dict], optional): Initialisation. None is He's, as in mmpretrain's ResNets.
        conv_bias (bool): Whether ``conv1`` has a bias. Defaults to False.

    Raises:
        InputError: if ``out_indices`` are not different stages.
    """

    def __init__(
        self,
        stem_channels: int,
        stage_settings: Sequence[tuple],
        out_indices: Sequence[int],
        init_cfg: dict | list[dict] | None,
        conv_bias: bool = False,
    ) -> None:
        conv1 = nn.Conv2d(3, stem_channels, kernel_size=3, padding=1, bias=conv_bias)
        super().__init__(conv1, stem_channels, stage_settings, out_indices, init_cfg)

    def make_stage(self, index: int, in_channels: int, blocks: int, width: int) -> tuple[nn.Sequential, int]:
        stage, out_channels = self.make_blocks(index, in_channels, blocks, width)
        if index == len(self.res_layers) - 1:
            stage.add_module('norm', nn.BatchNorm2d(out_channels))
            stage.add_module('relu', nn.ReLU(inplace=True))
        return stage, out_channels

    def make_blocks(self, index: int, in_channels: int, blocks: int, width: int) -> tuple[nn.Sequential, int]:
        raise NotImplementedError
