"""SuperMix (Dabouei et al., CVPR 2021): the mathematics of the masks, as functions of tensors.

The paper's equations were not readable; they are those of its supplement and of the authors' code, and are called by what
they compute. B samples, each mixed from K source images of C classes; mask variables M, ``(B, K, w, w)``.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from mixskd_mm.models.losses.precision import full_precision

# Bounds of the step length, the authors'.
MIN_STEP, MAX_STEP = 1e-4, 2000.0


def source_indices(batch_size: int, num_sources: int) -> Tensor:
    """Which images a sample is mixed from: slot k of sample b is image (b + k) mod B. ``(B, K)``."""
    return (torch.arange(batch_size)[:, None] + torch.arange(num_sources)) % batch_size


def soft_targets(classes: Tensor, weights: Tensor, num_classes: int) -> Tensor:
    """q_b = sum_k lambda_bk onehot(class_bk): the classes that the mixed image is to show, and how strongly.

    Args:
        classes (Tensor): Of the source images, ``(B, K)``; shares of equal ones add up.
        weights (Tensor): lambda, ``(B, K)``, rows of sum 1.
        num_classes (int): C.

    Returns:
        Tensor: Like ``weights``, ``(B, C)``.
    """
    return weights.new_zeros(len(classes), num_classes).scatter_add(1, classes, weights)


def render_masks(variables: Tensor, size: tuple[int, int]) -> Tensor:
    """m_k = sigmoid(up(M_k)) / sum_l sigmoid(up(M_l)), with up bilinear.

    Matrix products instead of ``F.interpolate``, whose gradient on a GPU depends on the order of atomic additions.

    Args:
        variables (Tensor): M, ``(B, K, w, w)``.
        size (tuple[int, int]): Height and width of the images.

    Returns:
        Tensor: m in (0, 1), ``(B, K, H, W)``, of sum 1 over K.
    """
    rows, columns = (upsampling_matrix(variables.shape[-1], length).to(variables) for length in size)
    masks = torch.sigmoid(rows @ variables @ columns.T)
    return masks / masks.sum(dim=1, keepdim=True)


def upsampling_matrix(size: int, new_size: int) -> Tensor:
    """Linear interpolation of ``size`` values to ``new_size``, corners not aligned, as a matrix ``(new_size, size)``."""
    return F.interpolate(torch.eye(size)[None], size=new_size, mode='linear')[0].T


def mix(masks: Tensor, sources: Tensor) -> Tensor:
    """x^ = sum_k m_k x_k: masks ``(B, K, H, W)`` and images ``(B, K, 3, H, W)`` to mixed images ``(B, 3, H, W)``."""
    return (masks[:, :, None] * sources).sum(dim=1)


def divergence(logits: Tensor, targets: Tensor) -> Tensor:
    """KL(q || softmax(f(x^))), sum over classes: logits and targets ``(B, C)`` to ``(B, )``."""
    log_p = F.log_softmax(full_precision(logits), dim=1)
    return F.kl_div(log_p, targets, reduction='none').sum(dim=1)


def sparsity(masks: Tensor) -> Tensor:
    """Mean over sources and pixels of |m (m - 1)|, which is 0 for masks of zeros and ones: ``(B, K, H, W)`` to ``(B, )``."""
    return (masks * (1 - masks)).mean(dim=(1, 2, 3))


def gaussian_kernel(sigma: float) -> Tensor:
    """Weights of the filter that smooths gradients, of sum 1: int(5 sigma) of them.

    As in the authors' code the standard deviation is a fifth of that length, so sigma itself only if 5 sigma is an integer.
    """
    length = int(5 * sigma)
    positions = torch.arange(length) - (length - 1) / 2
    kernel = torch.exp(-0.5 * (5 * positions / length) ** 2)
    return kernel / kernel.sum()


def smoothing_matrix(size: int, sigma: float) -> Tensor:
    """The filter along one side of a mask, with zeros outside of it, ``(w, w)``.

    As in the authors' code a kernel of even length, such as that of sigma = 2, shifts by half a pixel of the mask.

    Args:
        size (int): w.
        sigma (float): 0 (no smoothing) or at least 0.2.
    """
    if sigma == 0:
        return torch.eye(size)
    kernel = gaussian_kernel(sigma)
    length = len(kernel)
    # How far the kernel reaches to the left of, or above, what it computes.
    before = length // 2 - (1 - length % 2)
    tap = torch.arange(size) - torch.arange(size)[:, None] + before
    return torch.where((tap >= 0) & (tap < length), kernel[tap.clamp(0, length - 1)], 0)


def newton_step(variables: Tensor, losses: Tensor, gradients: Tensor, smoothing: Tensor) -> tuple[Tensor, Tensor]:
    """One step of Newton's method for L(M) = 0, along the smoothed gradient; the paper's alternative to gradient descent.

    With g = dL/dM and s = G_sigma * g, L(M - t s) = L - t <g, s> to first order, which is 0 for t = L / <g, s>. Smoothing
    keeps neighbouring pixels of a mask together, without a term for it in L.

    Args:
        variables (Tensor): M, ``(B, K, w, w)``.
        losses (Tensor): L of each sample, ``(B, )``.
        gradients (Tensor): g, like M.
        smoothing (Tensor): :func:`smoothing_matrix`, ``(w, w)``.

    Returns:
        tuple[Tensor, Tensor]: M - t s, and the step lengths t in [1e-4, 2000], ``(B, )``.
    """
    directions = smoothing @ gradients @ smoothing.T
    slopes = (gradients * directions).sum(dim=(1, 2, 3))
    lengths = (losses.abs() / (slopes + 1e-10)).clamp(MIN_STEP, MAX_STEP)
    return variables - lengths[:, None, None, None] * directions, lengths


def succeeded(logits: Tensor, targets: Tensor, num_sources: int) -> Tensor:
    """The success rule: the K most probable classes of the mixed image are those of its sources, in any order.

    A sample whose sources share a class has fewer than K classes, and never succeeds. In the authors' code it nearly never
    does: there an arbitrary class takes the missing place.

    Args:
        logits (Tensor): Of the mixed images, ``(B, C)``.
        targets (Tensor): q, ``(B, C)``.
        num_sources (int): K <= C.

    Returns:
        Tensor: bool, ``(B, )``.
    """
    largest = torch.zeros_like(targets, dtype=torch.bool).scatter(1, logits.topk(num_sources, dim=1).indices, True)
    return (largest == (targets > 0)).all(dim=1)


def allowed_failures(batch_size: int, tolerance: float) -> int:
    """Early stop: how many samples of a batch may be unsuccessful when it ends; ``tolerance`` in percent."""
    return math.floor(batch_size * tolerance / 100)
