"""Miss rate between samples (MixSKD, section 4.3, Figure 3b)."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from .loading import LoadedClassifier
from .pairs import interpolate_pairs


def missed(predictions: Tensor, labels_i: Tensor, labels_j: Tensor) -> Tensor:
    """Whether each prediction on x~_ij is a miss: outside {y_i, y_j}. Class indices ``(N, )`` to bool ``(N, )``."""
    return (predictions != labels_i) & (predictions != labels_j)


@torch.no_grad()
def miss_rates(classifier: LoadedClassifier, lams: Sequence[float], seed: int) -> list[float]:
    """Percentage of test pairs (i, j) on whose x~_ij = lam x_i + (1 - lam) x_j the classifier misses, for each lam.

    Args:
        classifier (LoadedClassifier): f, and the test images that x_i runs over.
        lams (Sequence[float]): Values in [0, 1].
        seed (int): Determines which x_j goes with each x_i.
    """
    misses = torch.zeros(len(lams), dtype=torch.long)
    for images, labels in classifier.pairs(seed):
        inputs = classifier.normalise(images)
        for n, lam in enumerate(lams):
            predictions = classifier.logits(interpolate_pairs(inputs, lam)).argmax(dim=1)
            misses[n] += missed(predictions, labels[::2], labels[1::2]).sum().cpu()
    return (100 * misses.double() / len(classifier)).tolist()
