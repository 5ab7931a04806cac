"""Shake-Shake regularisation (Gastaldi, 2017), for the classification part of SuperMix's supplement."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from mmpretrain.registry import MODELS
from torch import Tensor, nn

from .arguments import check_depth, check_positive_int
from .staged import StagedBackbone


def shake(x: Tensor, y: Tensor) -> Tensor:
    """alpha x + (1 - alpha) y, with gradients of beta x + (1 - beta) y; alpha, beta ~ U(0, 1) for each image.

    Args:
        x (Tensor): Output of one branch, ``(N, C, H, W)``.
        y (Tensor): Of the other, likewise.
    """
    alpha, beta = torch.rand(2, len(x), 1, 1, 1, device=x.device, dtype=x.dtype)
    learning = beta * x + (1 - beta) * y
    return learning + (alpha - beta) * (x - y).detach()


class ShakeBlock(nn.Module):
    """Two branches ReLU-conv3x3-BN-ReLU-conv3x3-BN, shaken in training and averaged otherwise, plus a shortcut.

    Args:
        in_channels (int): C.
        out_channels (int): C', an even number.
        stride (int): Of the first convolutions and the shortcut.
    """

    def __init__(self, in_channels: int, out_channels: int, stride: int) -> None:
        super().__init__()
        self.branch1 = shake_branch(in_channels, out_channels, stride)
        self.branch2 = shake_branch(in_channels, out_channels, stride)
        self.shortcut = None
        if in_channels != out_channels or stride != 1:
            self.shortcut = SplitShortcut(in_channels, out_channels, stride)

    def forward(self, x: Tensor) -> Tensor:
        first, second = self.branch1(x), self.branch2(x)
        shortcut = x if self.shortcut is None else self.shortcut(x)
        return shortcut + (shake(first, second) if self.training else (first + second) / 2)


def shake_branch(in_channels: int, out_channels: int, stride: int) -> nn.Sequential:
    return nn.Sequential(
        # Not in place: the input serves both branches and the shortcut.
        nn.ReLU(),
        nn.Conv2d(in_channels, out_channels, 3, stride=stride, padding=1, bias=False),
        nn.BatchNorm2d(out_channels),
        nn.ReLU(inplace=True),
        nn.Conv2d(out_channels, out_channels, 3, padding=1, bias=False),
        nn.BatchNorm2d(out_channels),
    )


class SplitShortcut(nn.Module):
    """ReLU, then two 1x1 convolutions of pixels that lie one apart, each for half of the channels, then BN."""

    def __init__(self, in_channels: int, out_channels: int, stride: int) -> None:
        super().__init__()
        self.stride = stride
        self.conv1 = nn.Conv2d(in_channels, out_channels // 2, 1, bias=False)
        self.conv2 = nn.Conv2d(in_channels, out_channels // 2, 1, bias=False)
        self.norm = nn.BatchNorm2d(out_channels)

    def forward(self, x: Tensor) -> Tensor:
        x = F.relu(x)
        shifted = F.pad(x[:, :, 1:, 1:], (0, 1, 0, 1))
        paths = [one[:, :, :: self.stride, :: self.stride] for one in (x, shifted)]
        return self.norm(torch.cat([self.conv1(paths[0]), self.conv2(paths[1])], dim=1))


@MODELS.register_module()
class ShakeShake_CIFAR(StagedBackbone):
    """Shake-Shake-26 2x96d, ...: conv3x3-BN, and three stages of n = (depth - 2) / 6 blocks.

    For 32 x 32 images and w = ``base_channels`` the stages give ``(N, w, 32, 32)``, ``(N, 2w, 16, 16)`` and
    ``(N, 4w, 8, 8)``. With 100 classes 26 2x96d has 26,366,404 parameters, the supplement's number: its stem must have w
    channels and BN. That of the repository that the supplement names has 16, biases and no BN, in all 26,227,556.

    Args:
        depth (int): 6n + 2. Defaults to 26.
        base_channels (int): w. Defaults to 96.
        out_indices (Sequence[int]): Outputs of which stages ``forward`` returns, 0-based. Defaults to (2,).
        init_cfg (dict | list[dict], optional): Initialisation. Defaults to None: He's.

    Raises:
        InputError: if a value above is outside its range.
    """

    def __init__(
        self,
        depth: int = 26,
        base_channels: int = 96,
        out_indices: Sequence[int] = (2,),
        init_cfg: dict | list[dict] | None = None,
    ) -> None:
        n = check_depth('ShakeShake_CIFAR depth', depth, 6, 2)
        w = check_positive_int('ShakeShake_CIFAR base_channels', base_channels)
        stem = nn.Sequential(nn.Conv2d(3, w, 3, padding=1, bias=False), nn.BatchNorm2d(w))
        super().__init__(stem, w, [(n, w), (n, 2 * w), (n, 4 * w)], out_indices, init_cfg)

    def make_stage(self, index: int, in_channels: int, blocks: int, width: int) -> tuple[nn.Sequential, int]:
        """``blocks`` blocks of ``width`` channels; the last stage ends with the network's final ReLU."""
        layers = [ShakeBlock(in_channels, width, 1 if index == 0 else 2)]
        layers += [ShakeBlock(width, width, 1) for _ in range(blocks - 1)]
        if index == 2:
            layers.append(nn.ReLU(inplace=True))
        return nn.Sequential(*layers), width
