"""The self-teacher of FRSKD (Ji et al., CVPR 2021): a bidirectional feature pyramid on a classifier's own stages."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from functools import reduce
from itertools import pairwise
from operator import add

import torch
import torch.nn.functional as F
from mmengine.model import BaseModule, ModuleList
from mmpretrain.registry import MODELS
from torch import Tensor, nn

from mixskd_mm.errors import InputError

from ..backbones.arguments import check_positive_int


@MODELS.register_module()
class BiFPNSelfTeacher(BaseModule):
    """Refines the feature maps F_1 ... F_L of a network to T_1 ... T_L, and classifies T_L: BiFPNc of FRSKD's code.

    A BiFPN (EfficientDet, Tan et al., CVPR 2020) whose levels keep channels in proportion to the network's: w C_i. With
    conv1x1 for 1x1 convolution, BN and ReLU, and D_i for ``depth`` times [depthwise 3x3 convolution, 1x1 convolution, BN,
    ReLU]:

    - laterals: P_i = conv1x1(F_i) for all i, Q_i = conv1x1(F_i) for i > 1;
    - top-down: U_L = P_L, U_i = D_i(a0 P_i + a1 up(conv1x1(U_{i+1})));
    - bottom-up: T_1 = U_1, T_i = D_i(b0 Q_i + b1 U_i + b2 conv1x1(down(T_{i-1}))), and T_L without its U;
    - logits: FC(GAP(T_L)).

    Each a and b is learned, not negative, and their sum at a node is 1.

    ``up`` and ``down`` go to the neighbour's height and width, so that a stage may also have the size of the one before
    it, as DenseNet_CIFAR's stages 2 and 3: nothing is resized between the two. Where the size halves, they are doubling by
    nearest neighbour and 3x3 max pooling with stride 2, as in the original, which expects that everywhere.

    Initial weights are PyTorch's, as in the original; the fusion weights start equal.

    Args:
        in_channels (Sequence[int]): C_1, ..., C_L: channels of the maps; L >= 2.
        num_classes (int): Number of classes.
        width (int): w, >= 1. Defaults to 2, the original's for CIFAR.
        depth (int): Depthwise-separable convolutions at each node, >= 1. Defaults to 2, the original's for CIFAR.

    Raises:
        InputError: if a value above is outside its range.
    """

    def __init__(self, in_channels: Sequence[int], num_classes: int, width: int = 2, depth: int = 2) -> None:
        super().__init__()
        name = type(self).__name__
        if len(in_channels) < 2:
            raise InputError(f'{name} in_channels={in_channels!r}: expected the channels of at least two stages')
        check_positive_int(f'{name} width', width)
        check_positive_int(f'{name} depth', depth)
        channels = [width * c for c in in_channels]
        last = len(channels) - 1
        # Lists that leave out the first or the last level start or end one later or earlier: bottom_up[0] makes T_2.
        self.laterals = ModuleList(conv1x1(c, wide) for c, wide in zip(in_channels, channels, strict=True))
        self.skips = ModuleList(conv1x1(c, wide) for c, wide in zip(in_channels[1:], channels[1:], strict=True))
        self.from_above = ModuleList(conv1x1(channels[i + 1], channels[i]) for i in range(last))
        self.from_below = ModuleList(conv1x1(channels[i - 1], channels[i]) for i in range(1, last + 1))
        self.top_down = ModuleList(FusionNode(2, channels[i], depth) for i in range(last))
        self.bottom_up = ModuleList(FusionNode(3 if i < last else 2, channels[i], depth) for i in range(1, last + 1))
        self.fc = nn.Linear(channels[-1], num_classes)

    def forward(self, features: Sequence[Tensor]) -> tuple[Tensor, list[Tensor]]:
        """The self-teacher's logits and its refined feature maps.

        Args:
            features (Sequence[Tensor]): F_1, ..., F_L, shallowest first, each ``(N, C_i, H_i, W_i)`` with the height and
                width of the one before or half of them. The original reads them after a ReLU.

        Returns:
            tuple[Tensor, list[Tensor]]: The logits, and T_i of shape ``(N, width * C_i, H_i, W_i)``, >= 0.

        Raises:
            InputError: if a map's size is neither that of the one before nor half of it.
        """
        sizes = [tuple(feature.shape[-2:]) for feature in features]
        check_sizes(f'{type(self).__name__} stages', sizes)
        P = [lateral(feature) for lateral, feature in zip(self.laterals, features, strict=True)]
        Q = [skip(feature) for skip, feature in zip(self.skips, features[1:], strict=True)]

        # A 1x1 convolution, BN and ReLU of doubled pixels are those of the pixels, doubled; before, they cost a quarter.
        U = [P[-1]]
        for i in reversed(range(len(P) - 1)):
            above = enlarge(self.from_above[i](U[0]), sizes[i])
            U.insert(0, self.top_down[i](P[i], above))

        T = [U[0]]
        for i in range(1, len(P)):
            below = self.from_below[i - 1](shrink(T[-1], sizes[i]))
            inputs = (Q[i - 1], U[i], below) if i < len(P) - 1 else (Q[i - 1], below)
            T.append(self.bottom_up[i - 1](*inputs))
        return self.fc(T[-1].mean((2, 3))), T


class FusionNode(nn.Module):
    """D(sum_j w_j x_j) of ``num_inputs`` maps, with w = ReLU(v) / (sum ReLU(v) + 1e-6) and v learned.

    EfficientDet's "fast normalized fusion", then ``depth`` times [depthwise 3x3 convolution, 1x1 convolution, BN, ReLU].
    All that reads the result in FRSKD reads it after a ReLU, so the last one is here.
    """

    def __init__(self, num_inputs: int, channels: int, depth: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(num_inputs))
        layers = []
        for _ in range(depth):
            layers += [
                nn.Conv2d(channels, channels, 3, padding=1, groups=channels, bias=False),
                nn.Conv2d(channels, channels, 1, bias=False),
                nn.BatchNorm2d(channels),
                nn.ReLU(inplace=True),
            ]
        self.convs = nn.Sequential(*layers)

    def forward(self, *inputs: Tensor) -> Tensor:
        """Maps ``(N, channels, H, W)`` to one of that shape."""
        weight = self.weight.relu()
        weight = weight / (weight.sum() + 1e-6)
        return self.convs(reduce(add, (w * x for w, x in zip(weight, inputs, strict=True))))


def conv1x1(in_channels: int, out_channels: int) -> nn.Sequential:
    """1x1 convolution without bias, BN, ReLU."""
    return nn.Sequential(
        OrderedDict(
            conv=nn.Conv2d(in_channels, out_channels, 1, bias=False),
            norm=nn.BatchNorm2d(out_channels),
            relu=nn.ReLU(inplace=True),
        )
    )


def enlarge(x: Tensor, size: tuple[int, int]) -> Tensor:
    """``(N, C, h, w)`` to ``(N, C, *size)`` by nearest neighbour."""
    return x if x.shape[-2:] == size else F.interpolate(x, size=size, mode='nearest')


def shrink(x: Tensor, size: tuple[int, int]) -> Tensor:
    """``(N, C, H, W)`` >= 0 to ``(N, C, *size)``, half of it, by 3x3 max pooling with stride 2.

    As much padding as the size needs, TensorFlow's "same": one row at the bottom for even H, one at each end for odd H and
    (H + 1) / 2 rows, none for (H - 1) / 2; columns likewise. Zeros, which win against no value >= 0.
    """
    if x.shape[-2:] == size:
        return x
    rows, columns = (2 * small + 1 - large for large, small in zip(x.shape[-2:], size, strict=True))
    x = F.pad(x, (columns // 2, columns - columns // 2, rows // 2, rows - rows // 2))
    return F.max_pool2d(x, kernel_size=3, stride=2)


def check_sizes(name: str, sizes: Sequence[tuple[int, int]]) -> None:
    """Raise InputError unless each (height, width) equals the one before or is half of it, rounded up or down."""
    for i, (large, small) in enumerate(pairwise(sizes), start=1):
        half = all(0 <= 2 * s + 1 - size <= 2 for size, s in zip(large, small, strict=True))
        if large != small and not half:
            raise InputError(
                f'{name} {i} and {i + 1} have maps of {large[0]} x {large[1]} and {small[0]} x {small[1]}: expected the '
                'same size or half of it'
            )
