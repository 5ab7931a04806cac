"""VGG (Simonyan and Zisserman, ICLR 2015) for 32 x 32 images: VGG-8 and VGG-13 of SuperMix's supplement."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence

from mmpretrain.registry import MODELS
from torch import nn

from mixskd_mm.errors import InputError

from .staged import StagedBackbone

# Convolutions per block.
BLOCKS = {8: 1, 13: 2}


@MODELS.register_module()
class VGG_CIFAR(StagedBackbone):
    """Five blocks of conv3x3-BN-ReLU with 64, 128, 256, 512 and 512 channels, as in CRD (Tian et al., ICLR 2020).

    Max-pooling comes before blocks 2, 3 and 4, not before the last one, so for 32 x 32 images the blocks give maps of 32,
    16, 8, 4 and 4 pixels; mmpretrain's ``VGG`` pools five times. The convolutions have biases. With 100 classes VGG-8 has
    3,965,028 and VGG-13 9,462,180 parameters.

    Args:
        depth (int): 8 or 13. Defaults to 8.
        out_indices (Sequence[int]): Outputs of which blocks ``forward`` returns, 0-based. Defaults to (4,).
        init_cfg (dict | list[dict], optional): Initialisation. Defaults to None: He's.

    Raises:
        InputError: if a value above is outside its range.
    """

    def __init__(
        self, depth: int = 8, out_indices: Sequence[int] = (4,), init_cfg: dict | list[dict] | None = None
    ) -> None:
        if type(depth) is not int or depth not in BLOCKS:
            raise InputError(f'VGG_CIFAR depth={depth!r}: expected 8 or 13')
        settings = [(BLOCKS[depth], width) for width in (64, 128, 256, 512, 512)]
        super().__init__(nn.Identity(), 3, settings, out_indices, init_cfg)

    def make_stage(self, index: int, in_channels: int, blocks: int, width: int) -> tuple[nn.Sequential, int]:
        """``blocks`` convolutions of ``width`` channels, after the pooling that the block has."""
        layers = OrderedDict(pool=nn.MaxPool2d(2)) if index in (1, 2, 3) else OrderedDict()
        for i in range(blocks):
            layers[f'conv{i + 1}'] = nn.Conv2d(in_channels if i == 0 else width, width, 3, padding=1)
            layers[f'norm{i + 1}'] = nn.BatchNorm2d(width)
            layers[f'relu{i + 1}'] = nn.ReLU(inplace=True)
        return nn.Sequential(layers), width
