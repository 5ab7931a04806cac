"""What draws how a batch is mixed. One draw serves the whole batch, as in the originals."""

from __future__ import annotations

import numpy as np
import torch
from mmpretrain.registry import TASK_UTILS

from mixskd_mm.errors import check_number

from .mixture import MaskMixture, Mixture


@TASK_UTILS.register_module()
class Mixup:
    """Mixup (Zhang et al., ICLR 2018): one lam ~ Beta(alpha, alpha) and one permutation per batch (MixSKD, Eq. 4).

    Args:
        alpha (float): Parameter of the Beta distribution, > 0. Defaults to 0.2, MixSKD's value for ImageNet; it uses 0.4
            on CIFAR-100 and the fine-grained sets.

    Raises:
        InputError: if ``alpha`` is not a finite number > 0.
    """

    def __init__(self, alpha: float = 0.2) -> None:
        self.alpha = check_number('Mixup alpha', alpha, positive=True)

    def draw(self, batch_size: int, image_size: tuple[int, int] | None, rng: np.random.Generator) -> Mixture:
        """The mixture of ``batch_size`` images; their size does not matter."""
        return Mixture(rng.beta(self.alpha, self.alpha), torch.from_numpy(rng.permutation(batch_size)))


@TASK_UTILS.register_module()
class CutMix:
    """CutMix (Yun et al., ICCV 2019): a box of image j covers image i; one box and one permutation per batch.

    The box has the share 1 - lam of the image, lam ~ Beta(alpha, alpha), the image's aspect and a uniform centre. It is
    clipped at the image's border, and lam of the mixture is what remains of image i.

    Args:
        alpha (float): Parameter of the Beta distribution, > 0. Defaults to 1.0, the original's.

    Raises:
        InputError: if ``alpha`` is not a finite number > 0.
    """

    def __init__(self, alpha: float = 1.0) -> None:
        self.alpha = check_number('CutMix alpha', alpha, positive=True)

    def draw(self, batch_size: int, image_size: tuple[int, int], rng: np.random.Generator) -> MaskMixture:
        """The mixture of ``batch_size`` images of ``image_size`` (height, width) pixels."""
        side = np.sqrt(1 - rng.beta(self.alpha, self.alpha))
        mask = torch.ones(1, 1, *image_size)
        bounds = []
        for length in image_size:
            centre, half = rng.integers(length), int(length * side) // 2
            bounds.append(slice(max(centre - half, 0), min(centre + half, length)))
        mask[:, :, bounds[0], bounds[1]] = 0
        return MaskMixture(mask, torch.from_numpy(rng.permutation(batch_size)))
