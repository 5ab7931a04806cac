"""How much of the classes a backbone's features tell: k nearest neighbours and a linear classifier."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from mixskd_mm.errors import InputError

from .loading import LoadedClassifier, training_images

# What a backbone's features depend on.
BACKBONE = ('backbone.', 'neck.')


@torch.no_grad()
def features(classifier: LoadedClassifier) -> Tensor:
    """What the head gets of each image, ``(N, D)`` on the classifier's device: the backbone's last map, pooled."""
    parts = []
    for images, _ in classifier.batches():
        feats = classifier.model.extract_feat(classifier.normalise(images), stage='neck')
        x = feats[-1] if isinstance(feats, list | tuple) else feats
        parts.append(x.mean(dim=(2, 3)) if x.ndim == 4 else x)
    return torch.cat(parts)


def knn_predictions(
    train: Tensor, train_labels: Tensor, test: Tensor, num_classes: int, k: int = 20, temperature: float = 0.07
) -> Tensor:
    """Predicted classes ``(M, )``: each of the ``k`` most similar training samples votes with exp(cosine / temperature).

    Args:
        train (Tensor): Features ``(N, D)``.
        train_labels (Tensor): Class indices ``(N, )``.
        test (Tensor): Features ``(M, D)``.
        num_classes (int): C.
        k (int): From 1 to N. Defaults to 20.
        temperature (float): > 0. Defaults to 0.07.
    """
    train, predicted = F.normalize(train), []
    # In parts: M x N similarities would not fit.
    for part in F.normalize(test).split(1024):
        similarity, neighbours = (part @ train.T).topk(k)
        votes = part.new_zeros(len(part), num_classes)
        votes.scatter_add_(1, train_labels[neighbours], ((similarity - similarity[:, :1]) / temperature).exp())
        predicted.append(votes.argmax(dim=1))
    return torch.cat(predicted)


def linear_probe(train: Tensor, labels: Tensor, num_classes: int) -> tuple[Tensor, Tensor]:
    """Multinomial logistic regression: weight ``(C, D)`` and bias ``(C, )`` of the optimum, found by L-BFGS.

    It minimises sum CE + ||W||^2 / 2 (scikit-learn's ``C=1``), which has one optimum, so nothing is to be tuned.

    Args:
        train (Tensor): Features ``(N, D)``, best of mean 0 and standard deviation 1.
        labels (Tensor): Class indices ``(N, )``.
        num_classes (int): C.
    """
    weight = train.new_zeros(num_classes, train.shape[1], requires_grad=True)
    bias = train.new_zeros(num_classes, requires_grad=True)
    optimiser = torch.optim.LBFGS(
        [weight, bias], max_iter=1000, tolerance_grad=1e-7, tolerance_change=1e-10, line_search_fn='strong_wolfe'
    )

    def closure() -> Tensor:
        optimiser.zero_grad()
        loss = F.cross_entropy(train @ weight.T + bias, labels) + weight.square().sum() / (2 * len(train))
        loss.backward()
        return loss

    with torch.enable_grad():
        optimiser.step(closure)
    return weight.detach(), bias.detach()


def probe(classifier: LoadedClassifier, k: int = 20, train_images: int | None = None, linear: bool = True) -> dict:
    """Top-1 in percent on the test images of k nearest neighbours and, if ``linear``, of a linear classifier.

    Both learn from the frozen features of the config's training images, not augmented, see :func:`features`.

    Args:
        classifier (LoadedClassifier): Its head takes no part.
        k (int): Neighbours. Defaults to 20.
        train_images (int, optional): How many training images, evenly spaced. Defaults to None: all.
        linear (bool): Train the linear classifier, too. Defaults to True.

    Returns:
        dict: ``knn`` and, if ``linear``, ``linear_probe``.

    Raises:
        InputError: if there are less than ``k`` training images, or as :func:`training_images`.
    """
    source = training_images(classifier, train_images)
    if not 1 <= k <= len(source):
        raise InputError(f'k={k} neighbours: expected 1 to {len(source)}, as many as there are training images')
    train, test = features(source), features(classifier)
    labels, expected = source.labels.to(train.device), classifier.labels.to(train.device)
    num_classes = 1 + int(max(labels.max(), expected.max()))

    def top1(predicted: Tensor) -> float:
        return 100 * (predicted == expected).double().mean().item()

    results = dict(knn=top1(knn_predictions(train, labels, test, num_classes, k)))
    if linear:
        mean, std = train.mean(dim=0), train.std(dim=0)
        # A feature that is constant tells nothing.
        std = std.where(std > 0, torch.ones_like(std))
        weight, bias = linear_probe((train - mean) / std, labels, num_classes)
        results['linear_probe'] = top1(((test - mean) / std @ weight.T + bias).argmax(dim=1))
    return results
