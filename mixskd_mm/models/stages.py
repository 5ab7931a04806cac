"""Cut a backbone into its stages phi_1 ... phi_K, and build the auxiliary branches b_k from the later ones."""

from __future__ import annotations

from collections.abc import Sequence
from copy import deepcopy

import torch
from mmengine.model import BaseModule, PretrainedInit
from mmpretrain.models.heads import LinearClsHead
from mmpretrain.registry import MODELS
from torch import Tensor, nn

from mixskd_mm.errors import InputError

# What mmpretrain's ResNets use unless told otherwise.
HE_INIT = [
    dict(type='Kaiming', layer=['Conv2d']),
    dict(type='Constant', val=1, layer=['_BatchNorm', 'GroupNorm']),
]


def global_average_pool(feature: Tensor) -> Tensor:
    """GAP: ``(N, C, H, W)`` to ``(N, C)``."""
    return feature.mean((2, 3))


def stage_names(backbone: nn.Module) -> list[str]:
    """Names of the modules of ``backbone`` that are its stages phi_1 ... phi_K, first to last.

    mmpretrain's ResNet family (ResNet, ResNet_CIFAR, ResNeXt, SEResNet, ...) says so itself: ``res_layers`` names the
    stages, ``out_indices`` chooses which of their outputs ``forward`` returns, ``feat_dim`` is the last one's width. Any
    backbone with these three can be cut.

    Raises:
        InputError: naming the backbone and what it lacks.
    """
    missing = [name for name in ('res_layers', 'out_indices', 'feat_dim') if not hasattr(backbone, name)]
    if missing:
        raise InputError(
            f'backbone {type(backbone).__name__} cannot be cut into stages: it has no {", ".join(missing)} (expected '
            'res_layers: names of its stage modules, out_indices: stages that forward returns, feat_dim: last width)'
        )
    names = list(backbone.res_layers)
    if len(names) < 2 or max(backbone.out_indices) != len(names) - 1:
        raise InputError(
            f'backbone {type(backbone).__name__} has {len(names)} stages and out_indices={tuple(backbone.out_indices)}: '
            'expected at least two stages and that the last one feeds the classifier'
        )
    return names


def check_stages(
    name: str, stages: Sequence[int], num_stages: int, at_least: int = 0, hidden: bool = False
) -> tuple[int, ...]:
    """``at_least`` different stages, 1-based; with ``hidden``, the last one of ``num_stages`` is none of them.

    Raises:
        InputError: naming the argument ``name``, if they are anything else.
    """
    stages = tuple(stages) if isinstance(stages, Sequence) and not isinstance(stages, str) else (stages,)
    last, meaning = (num_stages - 1, 'hidden stages') if hidden else (num_stages, 'stages')
    in_range = all(type(stage) is int and 1 <= stage <= last for stage in stages)
    if not in_range or len(stages) < at_least or len(set(stages)) < len(stages):
        raise InputError(
            f'{name}={stages!r}: expected different stages from 1 to {last}, the number of {meaning} of the backbone'
        )
    return stages


def stage_outputs(backbone: nn.Module, images: Tensor, stem: bool = False) -> tuple[Tensor, ...]:
    """phi_1(x), ..., phi_K o ... o phi_1(x): the output of every stage, whatever ``out_indices`` says (Eq. 1).

    With ``stem``, which only the networks of this package have, what enters phi_1 comes first.
    """
    configured = backbone.out_indices
    backbone.out_indices = tuple(range(-1 if stem else 0, len(backbone.res_layers)))
    try:
        return backbone(images)
    finally:
        backbone.out_indices = configured


@torch.no_grad()
def output_channels(backbone: nn.Module) -> list[int]:
    """Channels C_1 ... C_K of the stages' outputs, whatever the backbone; nothing is computed and it is not changed."""
    # On the device "meta", tensors have shapes but no values.
    copy = deepcopy(backbone).to('meta')
    copy.eval()
    return [output.shape[1] for output in stage_outputs(copy, torch.empty(1, 3, 64, 64, device='meta'))]


def fresh_stages(backbone: nn.Module, names: list[str]) -> nn.Module:
    """A copy of ``backbone`` that has only the stages ``names``, trainable and with new weights, never pretrained ones.

    It stays an object of the backbone's class, so that ``init_weights`` initialises it as the backbone is initialised.
    """
    copy = deepcopy(backbone)
    for name, _ in list(copy.named_children()):
        if name not in names:
            delattr(copy, name)
    for module in copy.modules():
        if hasattr(module, 'reset_parameters'):
            module.reset_parameters()
    configs = getattr(copy, 'init_cfg', None) or []
    configs = [configs] if isinstance(configs, dict) else configs
    fresh = [config for config in configs if config['type'] not in ('Pretrained', PretrainedInit)]
    if len(fresh) < len(configs):
        copy.init_cfg = fresh or deepcopy(HE_INIT)
    copy._is_init = False
    copy.frozen_stages = -1
    copy.norm_eval = False
    copy.train()
    return copy.requires_grad_(True)


@MODELS.register_module()
class AuxiliaryBranch(BaseModule):
    """Auxiliary branch b_k = g_k o zeta_k: the stages after the k-th once more, with weights of its own (Eq. 1).

    The copied stages zeta_k give it as many down-samplings as the backbone, so its feature map F_k has the shape of F_K
    (MixSKD, appendix A). The classifier g_k is initialised like the backbone's.

    Args:
        backbone (nn.Module): The network whose later stages are copied; it is not changed.
        start (int): k, 1-based: the branch continues the output of stage k with copies of stages k + 1 to K.
        num_classes (int): Number of classes C.
        head_init_cfg (dict, optional): Initialisation of g_k. Defaults to None: PyTorch's.
        stages (nn.Module, optional): Other stages in the place of the copies, as attributes with the same names. Defaults to
            None: the copies.
        feat_dim (int, optional): Channels of the last one's output. Defaults to None: the backbone's.
    """

    def __init__(
        self,
        backbone: nn.Module,
        start: int,
        num_classes: int,
        head_init_cfg: dict | None = None,
        stages: nn.Module | None = None,
        feat_dim: int | None = None,
    ) -> None:
        super().__init__()
        self.start = start
        self.names = stage_names(backbone)[start:]
        self.stages = fresh_stages(backbone, self.names) if stages is None else stages
        self.head = LinearClsHead(num_classes, feat_dim or backbone.feat_dim, init_cfg=deepcopy(head_init_cfg))

    def forward(self, stage_output: Tensor) -> Tensor:
        """F_k = zeta_k(output of stage k): ``(N, C_k, H_k, W_k)`` to ``(N, C_K, H_K, W_K)`` (Eq. 2)."""
        x = stage_output
        for name in self.names:
            x = getattr(self.stages, name)(x)
        return x

    def classify(self, pooled: Tensor) -> Tensor:
        """g_k: pooled F_k of shape ``(N, C_K)`` to logits ``(N, num_classes)``."""
        return self.head.fc(pooled)
