"""How well a classifier's confidences agree with its accuracy."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from mixskd_mm.errors import InputError

from .loading import LoadedClassifier


def expected_calibration_error(confidences: Tensor, correct: Tensor, bins: int = 15) -> float:
    """ECE from 0 to 1: sum over the bins of ``|accuracy - mean confidence|``, weighted with their share of the samples.

    Args:
        confidences (Tensor): Probability of the predicted class, ``(N, )``.
        correct (Tensor): Whether it is the label, bool ``(N, )``.
        bins (int): Bins of equal width from 0 to 1. Defaults to 15.

    Raises:
        InputError: if torchmetrics is missing.
    """
    try:
        from torchmetrics.functional.classification import multiclass_calibration_error
    except ImportError as error:
        raise InputError('the calibration error needs torchmetrics: pip install torchmetrics') from error
    # It takes (N, C) probabilities and labels: here class 0 is what was predicted.
    predicted = below_one(confidences)
    p = torch.stack([predicted, torch.zeros_like(predicted)], dim=1)
    return multiclass_calibration_error(p, (~correct).long(), num_classes=2, n_bins=bins, norm='l1').item()


def below_one(confidences: Tensor) -> Tensor:
    """``confidences`` as float32 below 1: torchmetrics gives those of exactly 1 a bin of their own, beside the last."""
    return confidences.float().clamp(max=1 - torch.finfo(torch.float32).eps / 2)


def reliability(confidences: Tensor, correct: Tensor, bins: int = 15) -> dict[str, list]:
    """What a reliability diagram draws; arguments as :func:`expected_calibration_error`.

    Returns:
        dict: ``bin_edges``, ``bins + 1`` numbers from 0 to 1, and for each bin ``counts``, ``accuracy`` and ``confidence``
        (means, from 0 to 1; None of an empty bin).
    """
    edges = torch.linspace(0, 1, bins + 1)
    index = torch.bucketize(below_one(confidences), edges, right=True) - 1
    counts = torch.bincount(index, minlength=bins)
    means = (torch.bincount(index, one.double(), minlength=bins) / counts for one in (correct, confidences))
    accuracy, confidence = ([None if m != m else m for m in mean.tolist()] for mean in means)
    return dict(bin_edges=edges.tolist(), counts=counts.tolist(), accuracy=accuracy, confidence=confidence)


@torch.no_grad()
def calibration(classifier: LoadedClassifier, bins: int = 15) -> dict:
    """Calibration on the test images.

    Args:
        classifier (LoadedClassifier): f, whose softmax (T = 1) gives the confidences.
        bins (int): As in :func:`expected_calibration_error`. Defaults to 15.

    Returns:
        dict: ``top1``, ``mean_confidence`` (of the predicted class) and ``ece`` in percent, ``nll`` (mean cross-entropy,
        nats), and what :func:`reliability` returns.
    """
    parts = []
    for images, labels in classifier.batches():
        log_p = F.log_softmax(classifier.logits(classifier.normalise(images)).double(), dim=1)
        highest, predicted = log_p.max(dim=1)
        parts.append(
            [one.cpu() for one in (highest.exp(), predicted == labels, F.nll_loss(log_p, labels, reduction='none'))]
        )
    confidences, correct, nll = map(torch.cat, zip(*parts, strict=True))
    return dict(
        top1=100 * correct.double().mean().item(),
        mean_confidence=100 * confidences.mean().item(),
        ece=100 * expected_calibration_error(confidences, correct, bins),
        nll=nll.mean().item(),
        **reliability(confidences, correct, bins),
    )
