"""MixSKD's loss computed the way the authors' release shapes it: what our training step is compared with.

2N images in one forward, as ours; but h and the discriminators read whole feature maps (the 1x1 convolution of h runs at
every position and is pooled afterwards), every map is interpolated in full, and each term is computed on its own. The
losses are those of :class:`MixSKDClassifier`, whose modules and weights it uses, so it is the slow reference of the tests.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from mmpretrain.structures import DataSample
from torch import Tensor, nn

from mixskd_mm.models import MixSKDClassifier, Mixture
from mixskd_mm.models.losses.precision import full_precision
from mixskd_mm.models.stages import global_average_pool, stage_outputs


class ReleasedGraph(MixSKDClassifier):
    """A ``MixSKDClassifier`` that computes its loss with :func:`released_losses` and logs nothing beside it."""

    def losses(
        self, inputs: Tensor, labels: Tensor, mixture: Mixture, data_samples: list[DataSample]
    ) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
        return released_losses(self, inputs, labels, mixture), {}


def released_losses(model: MixSKDClassifier, images: Tensor, labels: Tensor, mixture: Mixture) -> dict[str, Tensor]:
    """The weighted terms of Eq. (13), as ``model.loss`` returns them.

    Args:
        model (MixSKDClassifier): Its modules, weights of the terms and temperature. All terms need a weight > 0.
        images (Tensor): Clean, normalised images, ``(N, 3, H, W)``.
        labels (Tensor): Class indices, ``(N, )``.
        mixture (Mixture): How to mix them.

    Returns:
        dict[str, Tensor]: 0-d tensors ``loss_cls``, ``loss_feature``, ``loss_dis``, ``loss_b_logit``, ``loss_cls_h`` and
        ``loss_f_logit``.
    """
    n, T = len(images), model.temperature

    # Eq. (2): feature maps of the N clean and the N mixed images.
    stages = stage_outputs(model.backbone, torch.cat([images, mixture(images)]))
    maps = [branch(stage) for branch, stage in zip(model.branches, stages, strict=False)] + [stages[-1]]
    clean_maps, mixed_maps = [m[:n] for m in maps], [m[n:] for m in maps]

    # Eq. (1)
    classifiers = [branch.head.fc for branch in model.branches] + [model.head.fc]
    logits = [classifier(global_average_pool(m)) for classifier, m in zip(classifiers, maps, strict=True)]
    clean_logits, mixed_logits = [z[:n] for z in logits], [z[n:] for z in logits]

    # Eq. (6) and (9): interpolated maps and logits.
    interpolated_maps = [mixture(m) for m in clean_maps]
    interpolated_logits = [mixture(z) for z in clean_logits]

    # h on whole interpolated and whole mixed maps.
    read = [k - 1 for k in model.teacher_stages]
    h_interpolated = self_teacher(model.self_teacher, [interpolated_maps[k] for k in read])
    h_mixed = self_teacher(model.self_teacher, [mixed_maps[k] for k in read])

    clean = sum(F.cross_entropy(full_precision(z), labels) for z in clean_logits)
    mixed = sum(mixed_criterion(z, labels, mixture) for z in mixed_logits)
    dis = sum(
        dis_criterion(D, interpolated, mixed_map)
        for D, interpolated, mixed_map in zip(model.discriminators, interpolated_maps, mixed_maps, strict=True)
    )
    b_logit = sum(
        kd_criterion(interpolated, mixed_z, T) + kd_criterion(mixed_z, interpolated, T)
        for interpolated, mixed_z in zip(interpolated_logits[:-1], mixed_logits[:-1], strict=True)
    )
    f_logit = kd_criterion(interpolated_logits[-1], h_mixed, T) + kd_criterion(mixed_logits[-1], h_interpolated, T)
    cls_h = mixed_criterion(h_interpolated, labels, mixture) + mixed_criterion(h_mixed, labels, mixture)
    feature = sum(
        F.mse_loss(full_precision(interpolated), full_precision(mixed_map))
        for interpolated, mixed_map in zip(interpolated_maps, mixed_maps, strict=True)
    )
    return {
        'loss_cls': model.clean_weight * clean + model.mixed_weight * mixed,
        'loss_feature': model.feature_weight * feature,
        'loss_dis': model.dis_weight * dis,
        'loss_b_logit': model.logit_weight['b_logit'] * b_logit,
        'loss_cls_h': model.logit_weight['cls_h'] * cls_h,
        'loss_f_logit': model.logit_weight['f_logit'] * f_logit,
    }


def self_teacher(h: nn.Module, maps: list[Tensor]) -> Tensor:
    """h of whole maps ``(N, C_K, H, W)``: concatenate, 1x1 convolution at every position, pool, classify."""
    return h.fc(global_average_pool(h.conv(torch.cat(maps, dim=1))))


def mixed_criterion(logits: Tensor, labels: Tensor, mixture: Mixture) -> Tensor:
    """Mixup's criterion: two cross-entropies, weighted with lam."""
    ce_i = F.cross_entropy(full_precision(logits), labels)
    ce_j = F.cross_entropy(full_precision(logits), labels[mixture.index])
    return mixture.lam * ce_i + (1 - mixture.lam) * ce_j


def kd_criterion(student: Tensor, teacher: Tensor, T: float) -> Tensor:
    """T^2 KL(softmax(teacher / T) || softmax(student / T)), mean over the batch; the teacher is a constant."""
    p_teacher = F.softmax(full_precision(teacher.detach()) / T, dim=1)
    return T**2 * F.kl_div(F.log_softmax(full_precision(student) / T, dim=1), p_teacher, reduction='batchmean')


def dis_criterion(D: nn.Module, interpolated: Tensor, mixed: Tensor) -> Tensor:
    """Binary cross-entropies of D_k on whole maps: interpolated ones are 1 0, mixed ones 0 1; sum over the logits."""
    real, fake = (full_precision(D(global_average_pool(m))) for m in (interpolated, mixed))
    first = torch.zeros_like(real)
    first[:, 0] = 1
    bce = F.binary_cross_entropy_with_logits
    return (bce(real, first, reduction='sum') + bce(fake, 1 - first, reduction='sum')) / len(real)
