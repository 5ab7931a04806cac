"""HCGNet for CIFAR (Yang et al., "Gated convolutional networks with hybrid connectivity", AAAI 2020).

Its authors' code leaves less open than their article, so it is what this follows; DropBlock, which their code has after
each transition and MixSKD does not mention, is left out.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from mmpretrain.registry import MODELS
from torch import Tensor, nn

from mixskd_mm.errors import InputError

from .arguments import check_positive_int
from .pre_activation import PreActivationBackbone, norm_relu_conv

# The linear layers of the gates keep PyTorch's initialisation, as in the authors' code. He's would give the forget gates'
# scores a standard deviation of 5 to 15: nearly all of their softmax on one position.


class AttentionPool(nn.Module):
    """Global context: the mean over space, weighted with a softmax over the positions; ``(N, C, H, W)`` to ``(N, C)``."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.score = nn.Linear(channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        x = x.flatten(2)
        attention = self.score(x.mT).softmax(dim=1)
        return (x @ attention).squeeze(2)


class Squeeze(nn.Sequential):
    """tanh(BN(W v + b)): what either gate does first with its context vectors; ``(N, in)`` to ``(N, out)``."""

    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__(nn.Linear(in_channels, out_channels), nn.BatchNorm1d(out_channels), nn.Tanh())


class ForgetGate(nn.Module):
    """How much of each channel of U is kept: ``(N, C, H, W)`` to values between 0 and 1, ``(N, C)``."""

    def __init__(self, channels: int, reduction: int) -> None:
        super().__init__()
        self.pool = AttentionPool(channels)
        self.squeeze = Squeeze(channels, channels // reduction)
        self.fc = nn.Linear(channels // reduction, channels)

    def forward(self, u: Tensor) -> Tensor:
        return self.fc(self.squeeze(self.pool(u))).sigmoid()


class UpdateGate(nn.Module):
    """New features of U at two scales, pooled and weighted against each other: ``(N, C, H, W)`` to ``(N, C)``.

    The scales are depthwise 3x3 convolutions without and with dilation 2, the second covering 5x5. In the authors' code the
    weights apply to the pooled vectors, not to the maps.
    """

    def __init__(self, channels: int, reduction: int) -> None:
        super().__init__()
        self.conv3x3 = norm_relu_conv(channels, channels, 3, groups=channels)
        self.conv5x5 = norm_relu_conv(channels, channels, 3, groups=channels, padding=2, dilation=2)
        self.pool3x3 = AttentionPool(channels)
        self.pool5x5 = AttentionPool(channels)
        self.squeeze = Squeeze(2 * channels, 2 * channels // reduction)
        self.fc3x3 = nn.Linear(2 * channels // reduction, channels)
        self.fc5x5 = nn.Linear(2 * channels // reduction, channels)

    def forward(self, u: Tensor) -> Tensor:
        a, b = self.pool3x3(self.conv3x3(u)), self.pool5x5(self.conv5x5(u))
        squeezed = self.squeeze(torch.cat([a, b], dim=1))
        weights = torch.stack([self.fc3x3(squeezed), self.fc5x5(squeezed)]).softmax(dim=0)
        return weights[0] * a + weights[1] * b


class GatedSum(nn.Module):
    """U * forget(U) + update(U), the local residual connection; the second term is constant over space.

    Args:
        channels (int): C of U ``(N, C, H, W)``.
        reduction (int): By how much the gates squeeze their vectors, <= C.
    """

    def __init__(self, channels: int, reduction: int) -> None:
        super().__init__()
        self.forget = ForgetGate(channels, reduction)
        self.update = UpdateGate(channels, reduction)

    def forward(self, u: Tensor) -> Tensor:
        # Under autocast the softmax of the gates is float32, which must not spread to all maps that follow.
        kept, new = (vector.to(u.dtype)[:, :, None, None] for vector in (self.forget(u), self.update(u)))
        return u * kept + new


class SMGUnit(nn.Module):
    """[x, GatedSum(U)] with U squeezed from x by a 1x1 and a grouped 3x3 convolution: C to C + growth_rate channels."""

    def __init__(self, in_channels: int, growth_rate: int) -> None:
        super().__init__()
        self.squeeze = nn.Sequential(
            norm_relu_conv(in_channels, 4 * growth_rate, 1),
            norm_relu_conv(4 * growth_rate, growth_rate, 3, groups=4),
        )
        self.gated = GatedSum(growth_rate, reduction=2)

    def forward(self, x: Tensor) -> Tensor:
        return torch.cat([x, self.gated(self.squeeze(x))], dim=1)


class Transition(nn.Sequential):
    """An SMG unit that halves height and width instead of concatenating: ``in_channels`` to ``out_channels``."""

    def __init__(self, in_channels: int, out_channels: int) -> None:
        between = in_channels - (in_channels - out_channels) // 2
        super().__init__(
            norm_relu_conv(in_channels, between, 1),
            norm_relu_conv(between, out_channels, 3, stride=2),
            GatedSum(out_channels, reduction=4),
        )


@MODELS.register_module()
class HCGNet_CIFAR(PreActivationBackbone):
    """HCGNet: three hybrid blocks of SMG units, densely connected, with transitions that halve the channels between them.

    Stages 2 and 3 begin with the transition, so that each branch has transitions of its own (MixSKD, appendix, Table 4).
    For 32 x 32 images HCGNet-A1's stages give ``(N, 120, 32, 32)``, ``(N, 252, 16, 16)`` and ``(N, 414, 8, 8)``. With 100
    classes it has 1,102,651 parameters. A2 is ``growth_rates=(24, 36, 64)``, A3 ``growth_rates=(36, 48, 80)`` with
    ``num_units=12``.

    Args:
        growth_rates (Sequence[int]): Channels that a unit adds, one for each block: three multiples of 4 (the groups of its
            3x3 convolution). Defaults to (12, 24, 36).
        num_units (int): SMG units in each block, >= 1. Defaults to 8.
        out_indices (Sequence[int]): Outputs of which stages ``forward`` returns, 0-based. Defaults to (2,).
        init_cfg (dict | list[dict], optional): Initialisation. Defaults to None: He's for the convolutions.

    Raises:
        InputError: if a value above is outside its range; in ``forward``, for a single image in training.
    """

    def __init__(
        self,
        growth_rates: Sequence[int] = (12, 24, 36),
        num_units: int = 8,
        out_indices: Sequence[int] = (2,),
        init_cfg: dict | list[dict] | None = None,
    ) -> None:
        check_growth_rates(growth_rates)
        check_positive_int('HCGNet_CIFAR num_units', num_units)
        super().__init__(2 * growth_rates[0], [(num_units, rate) for rate in growth_rates], out_indices, init_cfg)

    def make_blocks(self, index: int, in_channels: int, blocks: int, width: int) -> tuple[nn.Sequential, int]:
        """A transition, but for the first, and a hybrid block of ``blocks`` units and growth rate ``width``."""
        stage, channels = nn.Sequential(), in_channels
        if index > 0:
            stage.add_module('transition', Transition(channels, channels // 2))
            channels //= 2
        for unit in range(blocks):
            stage.add_module(f'unit{unit + 1}', SMGUnit(channels, width))
            channels += width
        return stage, channels

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        # The gates have one vector an image.
        if self.training and len(x) == 1:
            raise InputError(
                'HCGNet_CIFAR got a batch of 1 image in training: expected at least 2, over which its gates can normalise '
                '(train_dataloader.batch_size; train_dataloader.drop_last=True drops a smaller last batch)'
            )
        return super().forward(x)


def check_growth_rates(growth_rates: Sequence[int]) -> None:
    """Raise InputError unless ``growth_rates`` are three positive multiples of 4."""
    rates = growth_rates if isinstance(growth_rates, list | tuple) else ()
    if len(rates) != 3 or not all(type(rate) is int and rate > 0 and rate % 4 == 0 for rate in rates):
        raise InputError(
            f'HCGNet_CIFAR growth_rates={growth_rates!r}: expected three positive multiples of 4, such as (12, 24, 36)'
        )
