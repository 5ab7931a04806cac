"""Log-probabilities of predicted and true labels on common misclassified samples (MixSKD, section 4.3, Figure 3a)."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from .loading import LoadedClassifier


class Scores(NamedTuple):
    """What a classifier thinks of N samples: tensors of shape ``(N, )``."""

    predicted: Tensor  # class indices
    log_p_predicted: Tensor  # natural logarithms, float64
    log_p_true: Tensor


def score(logits: Tensor, labels: Tensor) -> Scores:
    """Predicted label, and log softmax of the predicted and of the true one.

    Args:
        logits (Tensor): ``(N, C)``.
        labels (Tensor): Class indices, ``(N, )``.
    """
    log_p = F.log_softmax(logits.double(), dim=1)
    highest, predicted = log_p.max(dim=1)
    return Scores(predicted, highest, log_p.gather(1, labels[:, None])[:, 0])


@torch.no_grad()
def predict(classifier: LoadedClassifier) -> Scores:
    """:func:`score` of all test images, on the CPU."""
    parts = [
        [part.cpu() for part in score(classifier.logits(classifier.normalise(images)), labels)]
        for images, labels in classifier.batches()
    ]
    return Scores(*map(torch.cat, zip(*parts, strict=True)))


def common_errors(labels: Tensor, *predictions: Tensor) -> Tensor:
    """The samples that every classifier gets wrong: class indices ``(N, )`` to bool ``(N, )``."""
    return torch.stack([predicted != labels for predicted in predictions]).all(dim=0)


def histograms(values: Sequence[Tensor], bins: int = 30) -> tuple[list[float], list[list[int]]]:
    """Edges of the bins and the counts of each tensor in them.

    Args:
        values (Sequence[Tensor]): Log-probabilities, <= 0 and not empty, one tensor ``(N, )`` a classifier.
        bins (int): Number of bins between 0 and the integer below all values. Defaults to 30.
    """
    lowest = min(-1, *(math.floor(one.min()) for one in values))
    edges = np.linspace(lowest, 0, bins + 1)
    return edges.tolist(), [np.histogram(one.numpy(), edges)[0].tolist() for one in values]
