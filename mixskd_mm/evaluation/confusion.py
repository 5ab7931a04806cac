"""Which classes a classifier takes for which."""

from __future__ import annotations

from mmpretrain.evaluation import ConfusionMatrix
from torch import Tensor

from .loading import LoadedClassifier
from .predictions import predict


def confusion_matrix(classifier: LoadedClassifier, num_classes: int) -> Tensor:
    """Number of test images of class i that are taken for j, ``(C, C)``, by mmpretrain's ``ConfusionMatrix``."""
    return ConfusionMatrix.calculate(predict(classifier).predicted, classifier.labels, num_classes)


def most_confused(matrix: Tensor, count: int = 10) -> list[tuple[int, int, int]]:
    """Class, the one that it is taken for, and how often: at most ``count``, the most frequent first."""
    wrong = matrix.clone().fill_diagonal_(0)
    flat = wrong.flatten().sort(descending=True, stable=True).indices[:count].tolist()
    pairs = [divmod(i, len(wrong)) for i in flat]
    return [(i, j, int(wrong[i, j])) for i, j in pairs if wrong[i, j]]
