"""Pairs (i, j) of test images, and what lies between them.

A tensor of pairs has 2N rows: x_i of pair m is row 2m, its x_j row 2m + 1.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from mixskd_mm.models import Mixture


def pair_order(count: int, seed: int) -> list[int]:
    """Indices i, j, i, j, ... of ``count`` pairs: i runs over the images, j is a random permutation of them.

    As in training, an image's partner may be of its own class, or the image itself.
    """
    partners = np.random.default_rng(seed).permutation(count)
    return np.stack([np.arange(count), partners], axis=1).ravel().tolist()


def interpolate_pairs(x: Tensor, lam: float) -> Tensor:
    """lam x_i + (1 - lam) x_j: pairs ``(2N, ...)`` to ``(N, ...)`` (Eq. 4, 6 and 9). Raises InputError as ``Mixture``."""
    mixture = Mixture(lam, torch.arange(len(x)) ^ 1).to(x.device)
    return mixture(x)[::2]
