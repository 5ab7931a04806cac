"""SAD: Learning Lightweight Lane Detection CNNs by Self Attention Distillation (Hou et al., ICCV 2019)."""

from __future__ import annotations

from collections.abc import Sequence

import torch.nn.functional as F
from mmpretrain.registry import MODELS
from torch import Tensor, nn

from .precision import full_precision


def attention_map(features: Tensor, size: Sequence[int], released: bool = False) -> Tensor:
    """Spatial softmax of the channels' summed squares, resized before the softmax.

    Args:
        features (Tensor): A block's output, ``(N, C, H, W)``.
        size (Sequence[int]): Height and width of the map. Bilinear, corners not aligned.
        released (bool): Resize the features instead of their summed squares, and average over channels instead of
            summing, as the MixSKD authors' release does. Defaults to False.

    Returns:
        Tensor: ``(N, H' W')``; each row sums to 1.
    """
    features, size = full_precision(features), tuple(size)
    if released:
        energy = (resize(features, size) ** 2).mean(dim=1, keepdim=True)
    else:
        energy = resize((features**2).sum(dim=1, keepdim=True), size)
    return energy.flatten(1).softmax(dim=1)


def resize(x: Tensor, size: tuple[int, ...]) -> Tensor:
    return x if x.shape[2:] == size else F.interpolate(x, size=size, mode='bilinear', align_corners=False)


def sad_loss(shallow: Tensor, deep: Tensor, released: bool = False) -> Tensor:
    """Mean squared difference of two blocks' attention maps, over the batch and the pixels: the deeper block teaches.

    Args:
        shallow (Tensor): Output of the block that learns, ``(N, C, H, W)``.
        deep (Tensor): Output of the next block, ``(N, C', H', W')``; its map is resized to ``(H, W)``. Detached here.
        released (bool): As in :func:`attention_map`. Defaults to False.
    """
    size = shallow.shape[2:]
    return F.mse_loss(attention_map(shallow, size, released), attention_map(deep.detach(), size, released))


@MODELS.register_module()
class SADLoss(nn.Module):
    """:func:`sad_loss` as a module.

    Args:
        released (bool): As in :func:`attention_map`. Defaults to False.
    """

    def __init__(self, released: bool = False) -> None:
        super().__init__()
        self.released = released

    def forward(self, shallow: Tensor, deep: Tensor) -> Tensor:
        return sad_loss(shallow, deep, self.released)
