"""The one place that interpolates: images, labels, feature maps and logits."""

from __future__ import annotations

from copy import copy

import torch
import torch.nn.functional as F
from mmpretrain.registry import TASK_UTILS
from torch import Tensor

from mixskd_mm.devices import dtype_on
from mixskd_mm.errors import InputError


@TASK_UTILS.register_module()
class Mixture:
    """How one batch is mixed: ``mixture(x) = lam * x + (1 - lam) * x[index]``.

    The same object interpolates images (MixSKD, Eq. 4), feature maps (Eq. 6) and logits (Eq. 9), so all of them use the
    same ``lam`` and the same pairs (i, j), j = ``index[i]``.

    Args:
        lam (float | Tensor): Share of image i, in [0, 1]. A 0-d tensor, or a float that becomes one: a tensor, so that a
            compiled step does not depend on its value.
        index (Tensor | Sequence[int]): Permutation of ``range(N)``, shape ``(N, )``.

    Raises:
        InputError: if ``lam`` is outside [0, 1] or NaN, or ``index`` is not a permutation.
    """

    # Whether GAP(mixture(F)) = mixture(GAP(F)).
    commutes_with_pooling = True

    # Which of several draws made it, for the log: a 0-d tensor.
    choice: Tensor | None = None

    def __init__(self, lam: float | Tensor, index: Tensor) -> None:
        lam = torch.as_tensor(lam, dtype=None if isinstance(lam, Tensor) else torch.float64)
        if lam.ndim != 0 or not 0 <= lam.item() <= 1:
            raise InputError(f'Mixture got lam={lam.tolist()}: expected one number in [0, 1]')
        self.lam = lam
        self.index = check_permutation(type(self).__name__, index)

    def __call__(self, x: Tensor) -> Tensor:
        """Interpolate ``x`` of shape ``(N, ...)`` with its permuted self; same shape and dtype.

        Raises:
            InputError: if ``x`` has another number of samples.
        """
        if len(x) != len(self.index):
            raise InputError(
                f'{type(self).__name__} of {len(self.index)} samples got a tensor of shape {tuple(x.shape)}'
            )
        share = self.share(x)
        return share * x + (1 - share) * x[self.index]

    def share(self, x: Tensor) -> Tensor:
        """The share of sample i in each element of ``x`` ``(N, ...)``: a tensor that broadcasts with ``x``, not beyond."""
        return per_sample(self.lam, x)

    def to(self, device: torch.device) -> Mixture:
        """The same mixture on another device, without checking it again (a check waits for the device)."""
        moved = copy(self)
        for name, value in vars(self).items():
            if isinstance(value, Tensor):
                setattr(moved, name, value.to(device, dtype_on(device, value.dtype), non_blocking=True))
        return moved

    def __repr__(self) -> str:
        return f'{type(self).__name__}(lam={self.lam.mean().item():.4f}, index={self.index.tolist()})'


@TASK_UTILS.register_module()
class MaskMixture(Mixture):
    """A mixture whose share differs from pixel to pixel: ``mask * x + (1 - mask) * x[index]`` for images (CutMix).

    A feature map of another size is interpolated with the mask averaged to that size; labels, logits and whatever else
    has no height and width, with ``lam``, the mask's mean.

    Args:
        mask (Tensor): Share of image i in each pixel, in [0, 1], float, ``(N, 1, H, W)`` or ``(1, 1, H, W)``: one mask for
            each pair or one for all.
        index (Tensor | Sequence[int]): Permutation of ``range(N)``, shape ``(N, )``.

    Raises:
        InputError: if ``mask`` has another shape or type, values outside [0, 1] or NaN, or ``index`` is not a permutation.
    """

    # GAP(m F_i + (1 - m) F_j) is not lam GAP(F_i) + (1 - lam) GAP(F_j).
    commutes_with_pooling = False

    def __init__(self, mask: Tensor, index: Tensor) -> None:
        index = check_permutation(type(self).__name__, index)
        mask = torch.as_tensor(mask)
        shaped = mask.ndim == 4 and mask.shape[0] in (1, len(index)) and mask.shape[1] == 1 and mask.numel() > 0
        if not shaped or not mask.is_floating_point():
            raise InputError(
                f'MaskMixture got a mask of shape {tuple(mask.shape)} and type {mask.dtype}: expected floats, (N, 1, H, W) '
                f'or (1, 1, H, W) with N={len(index)}'
            )
        if not bool(((mask >= 0) & (mask <= 1)).all()):
            raise InputError(f'MaskMixture got a mask from {mask.min().item()} to {mask.max().item()}: expected [0, 1]')
        self.mask = mask
        self.index = index
        # (N, ), or 0-d for a mask that all pairs share.
        lam = mask.to(dtype_on(mask.device)).mean((1, 2, 3))
        self.lam = lam.squeeze(0) if len(mask) == 1 else lam

    def share(self, x: Tensor) -> Tensor:
        if x.ndim != 4:
            return per_sample(self.lam, x)
        return F.adaptive_avg_pool2d(self.mask, x.shape[2:]).to(x.dtype)


def per_sample(lam: Tensor, x: Tensor) -> Tensor:
    """``lam``, 0-d or ``(N, )``, so that it multiplies each sample of ``x`` ``(N, ...)`` and keeps the dtype of ``x``."""
    # A 0-d tensor never promotes, and keeps its precision.
    return lam if lam.ndim == 0 else lam.to(x.dtype).reshape(-1, *[1] * (x.ndim - 1))


def check_permutation(name: str, index) -> Tensor:
    """``index`` as an int64 tensor. Raises InputError unless it is a permutation of ``range(N)``."""
    index = torch.as_tensor(index)
    in_order = torch.arange(index.numel(), device=index.device)
    if index.ndim != 1 or index.is_floating_point() or not torch.equal(index.sort().values.long(), in_order):
        raise InputError(f'{name} got index={index.tolist()}: expected a permutation of range(N)')
    return index.long()
