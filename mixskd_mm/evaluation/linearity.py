"""How linearly a classifier behaves between samples: what MixSKD trains for (section 3.3 to 3.5)."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from mmpretrain.models import ImageClassifier
from torch import Tensor

from mixskd_mm.errors import InputError
from mixskd_mm.models.base import classify_map
from mixskd_mm.models.stages import cut_of, stage_outputs

from .loading import LoadedClassifier
from .pairs import interpolate_pairs


def feature_gap(interpolated: Tensor, mixed: Tensor) -> Tensor:
    """Sums behind the distance of F~ to F(x~): ||F~ - F(x~)||^2, ||F~||^2 and the number of values, float64 ``(3, )``.

    Squared l2-norms over all values of all pairs, so that the sums of batches add up. The first over the third is one k of
    Eq. (7), mean over the pairs.

    Args:
        interpolated (Tensor): F~(x_i, x_j) of Eq. (6), ``(N, ...)``.
        mixed (Tensor): F(x~_ij), same shape.
    """
    interpolated, mixed = interpolated.double(), mixed.double()
    squares = [(interpolated - mixed).square().sum(), interpolated.square().sum()]
    return torch.stack([*squares, torch.full_like(squares[0], interpolated.numel())])


def prediction_gap(interpolated: Tensor, mixed: Tensor) -> Tensor:
    """KL(p~ || p) and KL(p || p~), sums over the pairs, in nats, float64 ``(2, )``: the directions of Eq. (10) at T = 1.

    Args:
        interpolated (Tensor): Interpolated logits f~(x_i, x_j) of Eq. (9), ``(N, C)``; p~ is their softmax.
        mixed (Tensor): Logits f(x~_ij), ``(N, C)``; p is their softmax.
    """
    p_interpolated = F.log_softmax(interpolated.double(), dim=1)
    p_mixed = F.log_softmax(mixed.double(), dim=1)
    # F.kl_div(a, b) is KL(b || a).
    return torch.stack(
        [
            F.kl_div(p_mixed, p_interpolated, reduction='sum', log_target=True),
            F.kl_div(p_interpolated, p_mixed, reduction='sum', log_target=True),
        ]
    )


def features_and_logits(model: ImageClassifier, inputs: Tensor) -> tuple[dict[str, Tensor], Tensor]:
    """Feature maps by name and logits ``(N, C)`` of normalised images ``(N, 3, H, W)``.

    The maps are those of the backbone's own stages: ``phi_1``, ..., ``phi_{K-1}`` and, always, ``F_K``, the one that is
    classified. A backbone that cannot be cut into stages has F_K only.
    """
    backbone = model.backbone
    try:
        cut_of(backbone)
    except InputError:
        feats = backbone(inputs)
        feats = tuple(feats) if isinstance(feats, list | tuple) else (feats,)
        maps = feats[-1:]
        logits = model.head(model.neck(feats) if model.with_neck else feats)
    else:
        maps = stage_outputs(backbone, inputs)
        logits = classify_map(model, maps[-1])
    names = [f'phi_{k}' for k in range(1, len(maps))] + ['F_K']
    return dict(zip(names, maps, strict=True)), logits


@torch.no_grad()
def linearity(classifier: LoadedClassifier, lams: Sequence[float], seed: int) -> dict:
    """Distances between interpolated outputs and outputs of interpolated images, over all test pairs, for each lam.

    Args:
        classifier (LoadedClassifier): f, and the test images that x_i runs over.
        lams (Sequence[float]): Values in [0, 1].
        seed (int): Determines which x_j goes with each x_i.

    Returns:
        dict: Lists with one number a lam. ``stages`` has for each map (see :func:`features_and_logits`)
        ``mean_squared``, one k of Eq. (7), and ``relative``, ||F~ - F(x~)||_2 / ||F~||_2, norms over all values of all
        pairs. ``kl_interpolated_mixed`` is KL(p~ || p) and ``kl_mixed_interpolated`` KL(p || p~), see
        :func:`prediction_gap`, means over the pairs.

    Raises:
        InputError: if a map is 0 on all images, so that nothing can be relative to it.
    """
    feature_sums: dict[str, Tensor] = {}
    kl_sums = torch.zeros(len(lams), 2, dtype=torch.float64)
    for images, _ in classifier.pairs(seed):
        inputs = classifier.normalise(images)
        clean, clean_logits = features_and_logits(classifier.model, inputs)
        for n, lam in enumerate(lams):
            mixed, mixed_logits = features_and_logits(classifier.model, interpolate_pairs(inputs, lam))
            kl_sums[n] += prediction_gap(interpolate_pairs(clean_logits, lam), mixed_logits).cpu()
            for name, feature in clean.items():
                sums = feature_sums.setdefault(name, torch.zeros(len(lams), 3, dtype=torch.float64))
                sums[n] += feature_gap(interpolate_pairs(feature, lam), mixed[name]).cpu()
    stages = {}
    for name, sums in feature_sums.items():
        distance, norm, count = sums.unbind(dim=1)
        if not norm.all():
            raise InputError(f'{classifier.name}: {name} is 0 on all test images: expected a trained network')
        stages[name] = dict(mean_squared=(distance / count).tolist(), relative=(distance / norm).sqrt().tolist())
    kl = kl_sums / len(classifier)
    return dict(stages=stages, kl_interpolated_mixed=kl[:, 0].tolist(), kl_mixed_interpolated=kl[:, 1].tolist())
