"""MobileNets of DCM (Yao and Sun, ECCV 2020): MobileNet (Howard et al., 2017) for CIFAR, and a MobileNetV2 to be cut."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence

from mmcv.cnn import ConvModule
from mmpretrain.models.backbones import MobileNetV2
from mmpretrain.registry import MODELS
from torch import nn

from .arguments import check_positive_int
from .staged import StagedBackbone


def conv_norm_relu(in_channels: int, out_channels: int, kernel_size: int, **kwargs) -> nn.Sequential:
    """Conv-BN-ReLU; the convolution, without bias, keeps height and width unless ``kwargs`` say otherwise."""
    return nn.Sequential(
        OrderedDict(
            conv=nn.Conv2d(in_channels, out_channels, kernel_size, padding=kernel_size // 2, bias=False, **kwargs),
            norm=nn.BatchNorm2d(out_channels),
            relu=nn.ReLU(inplace=True),
        )
    )


class SeparableConv(nn.Sequential):
    """A 3x3 depthwise and a 1x1 pointwise convolution, each with BN-ReLU: ``(N, C, H, W)`` to ``(N, C', H / s, W / s)``."""

    def __init__(self, in_channels: int, out_channels: int, stride: int) -> None:
        super().__init__(
            OrderedDict(
                depthwise=conv_norm_relu(in_channels, in_channels, 3, stride=stride, groups=in_channels),
                pointwise=conv_norm_relu(in_channels, out_channels, 1),
            )
        )


@MODELS.register_module()
class MobileNet_CIFAR(StagedBackbone):
    """MobileNet for CIFAR as in DCM: conv0, and the separable convolutions conv1 to conv13 of its supplement's Table 4.

    The stages end where the auxiliary classifiers start: after conv5, conv11 and conv13. For 32 x 32 images they give
    ``(N, 256, 32, 32)``, ``(N, 512, 16, 16)`` and ``(N, 1024, 8, 8)``: conv6 and conv12 have stride 2, all others stride 1,
    as in the authors' code. With 100 classes it has 3,309,476 parameters.

    Args:
        base_channels (int): Channels of conv0; each other layer has a multiple of them. Defaults to 32.
        out_indices (Sequence[int]): Outputs of which stages ``forward`` returns, 0-based. Defaults to (2,).
        init_cfg (dict | list[dict], optional): Initialisation. Defaults to None: He's.

    Raises:
        InputError: if a value above is outside its range.
    """

    def __init__(
        self,
        base_channels: int = 32,
        out_indices: Sequence[int] = (2,),
        init_cfg: dict | list[dict] | None = None,
    ) -> None:
        c = check_positive_int('MobileNet_CIFAR base_channels', base_channels)
        super().__init__(conv_norm_relu(3, c, 3), c, [(5, 8 * c), (6, 16 * c), (2, 32 * c)], out_indices, init_cfg)

    def make_stage(self, index: int, in_channels: int, blocks: int, width: int) -> tuple[nn.Sequential, int]:
        """``blocks`` separable convolutions of ``width`` channels."""
        # conv1 to conv5 widen on the way.
        widths = [width // 4, width // 2, width // 2, width, width] if index == 0 else [width] * blocks
        strides = [(1, 2, 2)[index]] + [1] * (blocks - 1)
        convs = nn.Sequential(*map(SeparableConv, [in_channels, *widths[:-1]], widths, strides))
        return convs, width


@MODELS.register_module()
class StagedMobileNetV2(MobileNetV2):
    """mmpretrain's ``MobileNetV2``, same names of weights, that says how it can be cut: ``layer1`` to ``layer7``, ``conv2``.

    In DCM's supplement (Table 6) block0 is ``conv1``, block1 is ``layer1``, block2-3 ``layer2``, block4-6 ``layer3``,
    block7-10 ``layer4``, block11-13 ``layer5``, block14-16 ``layer6``, block17 ``layer7`` and block18 ``conv2``: the
    auxiliary classifiers start after stages 5 and 6.

    Args:
        kwargs: Those of mmpretrain's ``MobileNetV2``.
    """

    def __init__(self, **kwargs) -> None:
        super().__init__(**kwargs)
        self.res_layers = list(self.layers)
        self.feat_dim = self.out_channel
        blocks = [self.conv1.conv, *(getattr(self, name)[-1].conv[-1].conv for name in self.layers[:-1])]
        self.stage_channels = (*(conv.out_channels for conv in blocks), self.out_channel)

    def make_stage(
        self, index: int, in_channels: int, blocks: int, width: int, expansion: int = 6
    ) -> tuple[nn.Module, int]:
        """``blocks`` inverted residuals of ``width`` channels; for the last index, a 1x1 convolution."""
        if index == len(self.res_layers) - 1:
            cfg = dict(conv_cfg=self.conv_cfg, norm_cfg=self.norm_cfg, act_cfg=self.act_cfg)
            return ConvModule(in_channels, width, 1, **cfg), width
        # Where make_layer takes it from.
        self.in_channels = in_channels
        return self.make_layer(width, blocks, self.arch_settings[index][3], expansion), width
