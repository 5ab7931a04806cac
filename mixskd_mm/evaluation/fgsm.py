"""Accuracy under the FGSM white-box attack (MixSKD, section 4.3, Table 5, left)."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from mixskd_mm.errors import InputError

from .loading import LoadedClassifier


def gradient_sign(logits_of: Callable[[Tensor], Tensor], images: Tensor, labels: Tensor) -> Tensor:
    """sign(dCE/dx) of each image, ``(N, 3, H, W)``; no other tensor gets a gradient.

    Args:
        logits_of (Callable): Images ``(N, 3, H, W)`` to logits ``(N, C)``; each image's must depend on that image alone.
        images (Tensor): x, floating point, ``(N, 3, H, W)``, in any units.
        labels (Tensor): Class indices y, ``(N, )``.
    """
    with torch.enable_grad():
        images = images.detach().requires_grad_()
        logits, y = logits_of(images), labels[:, None]
        # CE = log(1 + exp(m)) with m = log sum_{c != y} exp(z_c) - z_y, so dm/dx has the sign of dCE/dx. But dCE/dx rounds
        # to 0 where a prediction is confident, which would make over-confident networks look robust.
        m = logits.scatter(1, y, -torch.inf).logsumexp(dim=1) - logits.gather(1, y)[:, 0]
        return torch.autograd.grad(m.sum(), images)[0].sign()


def perturb(images: Tensor, sign: Tensor, epsilon: float) -> Tensor:
    """x' = clip(x + eps sign(dCE/dx), 0, 1), written for images stored as 0 to 255.

    Args:
        images (Tensor): 255 x, ``(N, 3, H, W)``, from 0 to 255.
        sign (Tensor): sign(dCE/dx), same shape.
        epsilon (float): eps >= 0, in units of x: image values from 0 to 1.

    Returns:
        Tensor: 255 x', same shape.
    """
    return (images + 255 * epsilon * sign).clamp(0, 255)


def fgsm_top1(classifier: LoadedClassifier, epsilons: Sequence[float]) -> list[float]:
    """Top-1 accuracy in percent on the test images under FGSM with each eps, see :func:`perturb`.

    The backbone's own head f is attacked in evaluation mode, through the data preprocessor: images are perturbed and
    clipped before they are normalised, padded and, if it does that, turned from BGR to RGB.

    Raises:
        InputError: if the pipeline gives no images from 0 to 255, which eps is relative to.
    """
    correct = torch.zeros(len(epsilons), dtype=torch.long)
    for images, labels in classifier.batches():
        if images.dtype != torch.uint8:
            raise InputError(
                f'{classifier.name}: the test pipeline gives images of type {images.dtype}: expected torch.uint8, values '
                'from 0 to 255'
            )
        images = images.float()
        sign = gradient_sign(lambda x: classifier.logits(classifier.normalise(x)), images, labels)
        with torch.no_grad():
            for i, epsilon in enumerate(epsilons):
                logits = classifier.logits(classifier.normalise(perturb(images, sign, epsilon)))
                correct[i] += (logits.argmax(dim=1) == labels).sum().cpu()
    return (100 * correct.double() / len(classifier)).tolist()
