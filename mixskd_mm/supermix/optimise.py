"""SuperMix (Dabouei et al., CVPR 2021): mix images so that a supervisor sees all of their classes in the result."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from mixskd_mm.errors import InputError, check_number

from .masks import (
    allowed_failures,
    divergence,
    mix,
    newton_step,
    render_masks,
    smoothing_matrix,
    soft_targets,
    source_indices,
    sparsity,
    succeeded,
)

# Logits (B, C) of normalised images (B, 3, H, W).
Supervisor = Callable[[Tensor], Tensor]


@dataclass(frozen=True)
class MaskSettings:
    """How images are mixed.

    Args:
        num_sources (int): K, images that are mixed into one, >= 1. Defaults to 2.
        mask_size (int): w, height and width of the mask variables, >= 1. Defaults to 8, the supplement's for CIFAR-100.
        sigma (float): Of the Gaussian that smooths gradients, in pixels of the mask: 0 (no smoothing) or >= 0.2. Defaults to
            1.0, the supplement's for CIFAR-100.
        sparsity_weight (float): lambda_s, >= 0. Defaults to 25, the supplement's.
        alpha (float): Of the Dirichlet distribution of the K shares, > 0. Defaults to 3, the supplement's.
        max_iterations (int): Steps after which a batch ends, >= 1. Defaults to 50, the authors' code's.
        tolerance (float): A batch ends earlier if at most this percentage of its samples is unsuccessful, from 0 to 100.
            Defaults to 10, the authors' for CIFAR-100; their code has 70.

    Raises:
        InputError: if a value is outside its range.
    """

    num_sources: int = 2
    mask_size: int = 8
    sigma: float = 1.0
    sparsity_weight: float = 25.0
    alpha: float = 3.0
    max_iterations: int = 50
    tolerance: float = 10.0

    def __post_init__(self) -> None:
        for name in ('num_sources', 'mask_size', 'max_iterations'):
            value = getattr(self, name)
            if type(value) is not int or value < 1:
                raise InputError(f'SuperMix {name}={value!r}: expected an integer >= 1')
        check_number('SuperMix sigma', self.sigma)
        check_number('SuperMix sparsity_weight', self.sparsity_weight)
        check_number('SuperMix alpha', self.alpha, positive=True)
        if 0 < self.sigma < 0.2:
            raise InputError(
                f'SuperMix sigma={self.sigma!r}: expected 0 or a number >= 0.2, since the kernel is 5 sigma'
            )
        if check_number('SuperMix tolerance', self.tolerance) > 100:
            raise InputError(f'SuperMix tolerance={self.tolerance!r}: expected a percentage from 0 to 100')


# Supplement, 1.1 and 1.3. The tolerances are what the author says (alldbi/SuperMix, issue 3); 70, the code's default, was
# for one experiment on ImageNet.
PRESETS = {
    'cifar': MaskSettings(mask_size=8, sigma=1.0, tolerance=10.0),
    'imagenet': MaskSettings(mask_size=16, sigma=2.0, tolerance=50.0),
}


@dataclass
class OptimisedMasks:
    """The masks of a batch.

    Args:
        variables (Tensor): M, ``(B, K, w, w)``.
        masks (Tensor): m, ``(B, K, H, W)``.
        images (Tensor): x^, normalised, ``(B, 3, H, W)``.
        logits (Tensor): The supervisor's for x^, ``(B, C)``.
        successful (Tensor): bool, ``(B, )``.
        steps (Tensor): How many steps each sample took, int64, ``(B, )``.
    """

    variables: Tensor
    masks: Tensor
    images: Tensor
    logits: Tensor
    successful: Tensor
    steps: Tensor


def optimise_masks(
    supervisor: Supervisor, sources: Tensor, targets: Tensor, settings: MaskSettings = PRESETS['cifar']
) -> OptimisedMasks:
    """Find masks with which the mixed images succeed; nothing here is random.

    L = KL(q || softmax(f(x^))) + lambda_s mean |m (m - 1)|, one Newton step after the other. A sample that succeeds keeps
    its masks. The batch ends when at most ``tolerance`` percent of its samples are unsuccessful, or after
    ``max_iterations``.

    Args:
        supervisor (Callable): f, in evaluation mode, so that samples do not depend on each other.
        sources (Tensor): x_k, normalised, ``(B, K, 3, H, W)``.
        targets (Tensor): q, ``(B, C)``.
        settings (MaskSettings): Defaults to those for CIFAR-100.
    """
    num, num_sources, size = len(sources), sources.shape[1], tuple(sources.shape[-2:])
    smoothing = smoothing_matrix(settings.mask_size, settings.sigma).to(sources)
    allowed = allowed_failures(num, settings.tolerance)
    variables = sources.new_zeros(num, num_sources, settings.mask_size, settings.mask_size)
    logits = torch.zeros_like(targets)
    successful = torch.zeros(num, dtype=torch.bool, device=sources.device)
    steps = torch.zeros(num, dtype=torch.long, device=sources.device)

    for step in range(settings.max_iterations + 1):
        # Those that have succeeded need no more computing.
        active = (~successful).nonzero()[:, 0]
        # The success of a step is seen in the forward of the next one.
        last = step == settings.max_iterations
        with torch.set_grad_enabled(not last):
            current = variables[active].requires_grad_(not last)
            masks = render_masks(current, size)
            active_logits = supervisor(mix(masks, sources[active]))
            losses = divergence(active_logits, targets[active]) + settings.sparsity_weight * sparsity(masks)
        logits[active] = active_logits.detach().to(logits)
        if step > 0:
            successful[active] = succeeded(active_logits, targets[active], num_sources)
            if last or (~successful).sum() <= allowed:
                break
        (gradients,) = torch.autograd.grad(losses.sum(), current)
        moved, _ = newton_step(current.detach(), losses.detach(), gradients, smoothing)
        moving = ~successful[active]
        variables[active[moving]] = moved[moving]
        steps[active[moving]] += 1

    masks = render_masks(variables, size)
    return OptimisedMasks(variables, masks, mix(masks, sources), logits, successful, steps)


@dataclass
class SuperMixed:
    """Mixed images, and what they were mixed from.

    Args:
        optimised (OptimisedMasks): Masks and mixed images.
        sources (Tensor): Which images of the batch each sample is mixed from, ``(B, K)``.
        classes (Tensor): Their classes, ``(B, K)``.
        weights (Tensor): lambda, ``(B, K)``.
    """

    optimised: OptimisedMasks
    sources: Tensor
    classes: Tensor
    weights: Tensor


def supermix(
    supervisor: Supervisor,
    images: Tensor,
    rng: np.random.Generator,
    labels: Tensor | None = None,
    settings: MaskSettings = PRESETS['cifar'],
) -> SuperMixed:
    """Mix a batch of images with each other: as many mixed images as there are images.

    Args:
        supervisor (Callable): f, in evaluation mode: normalised images ``(B, 3, H, W)`` to logits ``(B, C)``.
        images (Tensor): Normalised, ``(B, 3, H, W)``; all is computed on their device.
        rng (np.random.Generator): Draws the shares lambda_b ~ Dirichlet(alpha), on the host: the same on every device.
        labels (Tensor, optional): Classes of the images, ``(B, )``. Defaults to None: what the supervisor takes them for,
            argmax f(x), as in the authors' code.
        settings (MaskSettings): Defaults to those for CIFAR-100.

    Raises:
        InputError: if there are fewer images, or fewer classes, than are mixed into one.
    """
    num_sources = settings.num_sources
    if len(images) < num_sources:
        raise InputError(f'SuperMix got {len(images)} images: expected at least num_sources={num_sources}')
    with torch.no_grad():
        natural_logits = supervisor(images)
    num_classes = natural_logits.shape[1]
    if num_classes < num_sources:
        raise InputError(f'SuperMix num_sources={num_sources}: expected at most {num_classes}, the number of classes')
    weights = rng.dirichlet([settings.alpha] * num_sources, size=len(images))
    weights = torch.from_numpy(weights).to(device=images.device, dtype=torch.float32)
    indices = source_indices(len(images), num_sources).to(images.device)
    classes = (natural_logits.argmax(dim=1) if labels is None else labels)[indices]
    targets = soft_targets(classes, weights, num_classes)
    optimised = optimise_masks(supervisor, images[indices], targets, settings)
    return SuperMixed(optimised, indices, classes, weights)
