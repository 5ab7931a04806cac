"""The residual networks that were made for CIFAR (He et al., CVPR 2016, section 4.2)."""

from __future__ import annotations

from collections.abc import Sequence

from mmpretrain.models.backbones import ResNet_CIFAR
from mmpretrain.models.backbones.resnet import BasicBlock, Bottleneck
from mmpretrain.registry import MODELS

from mixskd_mm.errors import InputError

from .arguments import check_out_indices, check_positive_int


@MODELS.register_module()
class ThinResNet_CIFAR(ResNet_CIFAR):
    """ResNet-20, 32, 56, 110, ...: three stages of n = (depth - 2) / 6 basic blocks and 16, 32, 64 channels.

    For 32 x 32 images the stages give ``(N, 16, 32, 32)``, ``(N, 32, 16, 16)`` and ``(N, 64, 8, 8)``. Shortcuts are 1x1
    convolutions with BN where the shape changes. With 100 classes ResNet-20 has 278,324 parameters. ResNet-8x4 and 32x4
    are ``depth=8`` and ``depth=32`` with ``stem_channels=32, base_channels=64``.

    Args:
        depth (int): 6n + 2, up to 1202. Defaults to 20.
        stem_channels (int): Channels of the first convolution. Defaults to 16.
        base_channels (int): Channels of the first stage; each later one has twice as many. Defaults to 16.
        out_indices (Sequence[int]): Outputs of which stages ``forward`` returns, 0-based. Defaults to (2,).
        zero_init_residual (bool): Begin with residual branches that are zero. Defaults to False, as in the paper;
            mmpretrain's ResNets do.
        **kwargs: Other arguments of mmpretrain's ``ResNet_CIFAR``, such as ``norm_cfg`` and ``init_cfg``.

    Raises:
        InputError: if a value above is outside its range.
    """

    arch_settings = {6 * n + 2: (BasicBlock, (n, n, n)) for n in range(1, 201)}
    depths = '6n + 2 with an integer n from 1 to 200 (8, 14, 20, ...)'

    def __init__(
        self,
        depth: int = 20,
        stem_channels: int = 16,
        base_channels: int = 16,
        out_indices: Sequence[int] = (2,),
        zero_init_residual: bool = False,
        **kwargs,
    ) -> None:
        name = type(self).__name__
        if type(depth) is not int or depth not in self.arch_settings:
            raise InputError(f'{name} depth={depth!r}: expected {self.depths}')
        super().__init__(
            depth=depth,
            stem_channels=check_positive_int(f'{name} stem_channels', stem_channels),
            base_channels=check_positive_int(f'{name} base_channels', base_channels),
            num_stages=3,
            strides=(1, 2, 2),
            dilations=(1, 1, 1),
            out_indices=check_out_indices(f'{name} out_indices', out_indices, 3),
            zero_init_residual=zero_init_residual,
            **kwargs,
        )


@MODELS.register_module()
class BottleneckResNet_CIFAR(ThinResNet_CIFAR):
    """ResNet-164, ...: three stages of n = (depth - 2) / 9 bottleneck blocks with 64, 128, 256 output channels.

    For 32 x 32 images the stages give ``(N, 64, 32, 32)``, ``(N, 128, 16, 16)`` and ``(N, 256, 8, 8)``; inside a block are
    a quarter of its channels. With 100 classes ResNet-164 has 1,727,284 parameters. DCM's supplement cites He et al.,
    CVPR 2016, for it, so ReLU follows the sum; the variant with pre-activation is from their next article.

    Args:
        depth (int): 9n + 2, up to 1802. Defaults to 164.
        **kwargs: Those of ``ThinResNet_CIFAR``; ``base_channels`` are those inside the blocks of the first stage.

    Raises:
        InputError: if a value above is outside its range.
    """

    arch_settings = {9 * n + 2: (Bottleneck, (n, n, n)) for n in range(1, 201)}
    depths = '9n + 2 with an integer n from 1 to 200 (11, 20, 29, ...)'

    def __init__(self, depth: int = 164, **kwargs) -> None:
        super().__init__(depth=depth, **kwargs)
