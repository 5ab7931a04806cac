"""What the pre-activation networks for CIFAR share: a 3x3 convolution, three stages, a final BN-ReLU."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence

from mmpretrain.models.backbones.base_backbone import BaseBackbone
from torch import Tensor, nn

from ..stages import HE_INIT
from .arguments import check_out_indices


def norm_relu_conv(in_channels: int, out_channels: int, kernel_size: int, **kwargs) -> nn.Sequential:
    """BN-ReLU-Conv; the convolution, without bias, keeps height and width unless ``kwargs`` say otherwise."""
    kwargs.setdefault('padding', kernel_size // 2)
    return nn.Sequential(
        OrderedDict(
            norm=nn.BatchNorm2d(in_channels),
            relu=nn.ReLU(inplace=True),
            conv=nn.Conv2d(in_channels, out_channels, kernel_size, bias=False, **kwargs),
        )
    )


class PreActivationBackbone(BaseBackbone):
    """``conv1``, and the stages ``layer1``, ``layer2``, ...; the last one ends with the network's final BN-ReLU.

    The final BN-ReLU belongs to the last stage, so that each auxiliary branch, a copy of the later stages, has one of its
    own, and every F_k is read after it: GAP and the classifier follow.

    It says as mmpretrain's ResNets do how it can be cut: ``res_layers``, ``out_indices``, ``feat_dim``.

    Args:
        stem_channels (int): Channels after ``conv1``.
        stages (Sequence[nn.Sequential]): The stages, without the final BN-ReLU.
        feat_dim (int): Channels of the last one's output.
        out_indices (Sequence[int]): Outputs of which stages ``forward`` returns, 0-based.
        init_cfg (dict | list[dict], optional): Initialisation. None is He's, as in mmpretrain's ResNets.

    Raises:
        InputError: if ``out_indices`` are not different stages.
    """

    def __init__(
        self,
        stem_channels: int,
        stages: Sequence[nn.Sequential],
        feat_dim: int,
        out_indices: Sequence[int],
        init_cfg: dict | list[dict] | None,
    ) -> None:
        super().__init__(HE_INIT if init_cfg is None else init_cfg)
        self.out_indices = check_out_indices(f'{type(self).__name__} out_indices', out_indices, len(stages))
        self.feat_dim = feat_dim
        self.conv1 = nn.Conv2d(3, stem_channels, kernel_size=3, padding=1, bias=False)
        stages[-1].add_module('norm', nn.BatchNorm2d(feat_dim))
        stages[-1].add_module('relu', nn.ReLU(inplace=True))
        self.res_layers = [f'layer{i}' for i in range(1, len(stages) + 1)]
        for name, stage in zip(self.res_layers, stages, strict=True):
            self.add_module(name, stage)

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        """Images ``(N, 3, H, W)`` to the outputs ``(N, C_k, H_k, W_k)`` of the stages ``out_indices``, first to last."""
        x = self.conv1(x)
        outputs = []
        for i, name in enumerate(self.res_layers):
            x = getattr(self, name)(x)
            if i in self.out_indices:
                outputs.append(x)
        return tuple(outputs)
