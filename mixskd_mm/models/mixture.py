"""The one place that interpolates: images, labels, feature maps and logits."""

from __future__ import annotations

import numpy as np
import torch
from mmpretrain.registry import TASK_UTILS
from torch import Tensor

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

    __slots__ = ('index', 'lam')

    def __init__(self, lam: float | Tensor, index: Tensor) -> None:
        lam = torch.as_tensor(lam, dtype=None if isinstance(lam, Tensor) else torch.float64)
        if lam.ndim != 0 or not 0 <= lam.item() <= 1:
            raise InputError(f'Mixture got lam={lam.tolist()}: expected one number in [0, 1]')
        index = torch.as_tensor(index)
        in_order = torch.arange(index.numel(), device=index.device)
        if index.ndim != 1 or index.is_floating_point() or not torch.equal(index.sort().values.long(), in_order):
            raise InputError(f'Mixture got index={index.tolist()}: expected a permutation of range(N)')
        self.lam = lam
        self.index = index.long()

    @classmethod
    def draw(cls, batch_size: int, alpha: float, rng: np.random.Generator) -> Mixture:
        """Draw lam ~ Beta(alpha, alpha), one scalar a batch, and a random permutation of the batch (Eq. 4).

        Args:
            batch_size (int): N, the number of clean images.
            alpha (float): Parameter of the Beta distribution, > 0: 0.2 for ImageNet, 0.4 elsewhere in the paper.
            rng (np.random.Generator): Where the randomness comes from.
        """
        return cls(rng.beta(alpha, alpha), torch.from_numpy(rng.permutation(batch_size)))

    def __call__(self, x: Tensor) -> Tensor:
        """Interpolate ``x`` of shape ``(N, ...)`` with its permuted self; same shape and dtype."""
        if len(x) != len(self.index):
            raise InputError(f'Mixture of {len(self.index)} samples got a tensor of shape {tuple(x.shape)}')
        return self.lam * x + (1 - self.lam) * x[self.index]

    def to(self, device: torch.device) -> Mixture:
        """The same mixture on another device, without checking it again (a check waits for the device)."""
        moved = object.__new__(type(self))
        moved.lam = self.lam.to(device, non_blocking=True)
        moved.index = self.index.to(device, non_blocking=True)
        return moved

    def __repr__(self) -> str:
        return f'Mixture(lam={self.lam.item():.4f}, index={self.index.tolist()})'
