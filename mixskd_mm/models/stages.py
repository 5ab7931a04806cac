"""Run a backbone stage by stage, phi_1 ... phi_K, and build the auxiliary branches b_k from the later stages.

Which modules a stage is says :mod:`mixskd_mm.models.cuts`, or the config's ``stages``.
"""

from __future__ import annotations

from collections.abc import Sequence
from copy import deepcopy

import torch
from mmengine.model import BaseModule
from mmpretrain.models.heads import LinearClsHead
from mmpretrain.registry import MODELS
from torch import Tensor, nn

from mixskd_mm.errors import InputError

from .cut_checks import check_output, check_parts, declared_cut, first_that_runs
from .cuts import Cut, find_cut
from .fresh import draw_anew, fresh_stages
from .running import after_pool, get_module, run_all, run_stage
from .running import global_average_pool as global_average_pool

# --- What a backbone's stages are --------------------------------------------------------------------------------------


def prepare_backbone(
    backbone: nn.Module, config: dict | None = None, stages: Sequence | dict | None = None, name: str = 'stages'
) -> None:
    """Remember with ``backbone`` what its branches need to know.

    Args:
        backbone (nn.Module): A classifier's; its tensors are not changed.
        config (dict, optional): What it was built from. Branches are built from it once more, so that they start as the
            backbone did. Defaults to None: branches are copies whose weights are drawn anew.
        stages (Sequence[Sequence[str]] | dict, optional): How it is cut, as in
            :func:`~mixskd_mm.models.cut_checks.declared_cut`. Defaults to None: as the table of ``cuts.py`` says.
        name (str): What messages call it. Defaults to ``stages``.

    Raises:
        InputError: if ``stages`` do not fit the backbone.
    """
    if config is not None:
        backbone.build_config = deepcopy(dict(config))
    if stages is not None:
        set_cut(backbone, declared_cut(backbone, stages, name), check=True)


def cut_of(backbone: nn.Module) -> Cut:
    """How ``backbone`` is cut. Raises InputError, naming the backbone and what it lacks, if it cannot be."""
    if not hasattr(backbone, 'stage_cut'):
        cut = find_cut(backbone)
        # The tests of this package compare the networks of these two with their stages.
        known = type(backbone).forward.__module__.startswith(('mmpretrain.', 'mixskd_mm.'))
        set_cut(backbone, cut, check=not known or hasattr(backbone, 'timm_model'))
    return backbone.stage_cut


def set_cut(backbone: nn.Module, cut: Cut, check: bool) -> None:
    """Let ``backbone`` be cut like this, and know ``feat_dim``, the channels of its last stage.

    Raises:
        InputError: unless all parameters are in it, and, if ``check``, the stages, one after another, are the backbone.
    """
    check_parts(backbone, cut)
    width = check_output(backbone, cut) if check else None
    backbone.stage_cut = cut
    if not hasattr(backbone, 'feat_dim'):
        backbone.feat_dim = width or output_channels(backbone)[-1]


def stage_names(backbone: nn.Module) -> list[str]:
    """Names of the stages phi_1 ... phi_K of ``backbone``, first to last: of their modules, with ``+`` between them.

    Raises:
        InputError: naming the backbone and what it lacks, if it cannot be cut.
    """
    return ['+'.join(names) for names in cut_of(backbone).stages]


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
    """phi_1(x), ..., phi_K o ... o phi_1(x): the output of every stage, ``(N, C_k, H_k, W_k)`` (Eq. 1).

    The last one is F_K, the map that is pooled and classified. With ``stem``, what enters phi_1 comes first.
    """
    outputs = run_all(backbone, cut_of(backbone), images)
    return outputs if stem else outputs[1:]


@torch.no_grad()
def output_channels(backbone: nn.Module) -> list[int]:
    """Channels C_1 ... C_K of the stages' outputs, whatever the backbone; nothing is computed and it is not changed."""
    # On the device "meta", tensors have shapes but no values.
    copy = deepcopy(backbone).to('meta')
    copy.eval()
    outputs = first_that_runs(
        lambda size: stage_outputs(copy, torch.empty(1, 3, size, size, device='meta')),
        type(backbone).__name__,
    )
    return [output.shape[1] for output in outputs]


# --- Branches ----------------------------------------------------------------------------------------------------------


@MODELS.register_module()
class AuxiliaryBranch(BaseModule):
    """Auxiliary branch b_k = g_k o zeta_k: the stages after the k-th once more, with weights of its own (Eq. 1).

    The stages zeta_k give it as many down-samplings as the backbone, so its feature map F_k has the shape of F_K (MixSKD,
    appendix A). They start from new weights, as the backbone's are initialised, and the classifier g_k as the backbone's.
    If the backbone normalises what is pooled, as ConvNeXt does, that norm is the beginning of g_k.

    Args:
        backbone (nn.Module): The network whose later stages are repeated; it is not changed.
        start (int): k, 1-based: the branch continues the output of stage k with stages k + 1 to K of its own.
        num_classes (int): Number of classes C.
        head_init_cfg (dict, optional): Initialisation of g_k. Defaults to None: PyTorch's.
        stages (nn.Module, optional): Other stages in their place, as modules with the same names. Defaults to None.
        feat_dim (int, optional): Channels of the last one's output. Defaults to None: the backbone's.
        head (nn.Module, optional): The backbone's classifier, of which g_k is another one if it is no ``LinearClsHead``.
            Defaults to None: g_k is linear.
    """

    def __init__(
        self,
        backbone: nn.Module,
        start: int,
        num_classes: int,
        head_init_cfg: dict | None = None,
        stages: nn.Module | None = None,
        feat_dim: int | None = None,
        head: nn.Module | None = None,
    ) -> None:
        super().__init__()
        self.start = start
        self.cut = cut_of(backbone)
        if stages is None:
            later = [name for names in self.cut.stages[start:] for name in names]
            stages = fresh_stages(backbone, [*later, *(self.cut.after_pool or [])])
        self.stages = stages
        if head is None or isinstance(head, LinearClsHead):
            self.head = LinearClsHead(num_classes, feat_dim or backbone.feat_dim, init_cfg=deepcopy(head_init_cfg))
        else:
            self.head = deepcopy(head)
            draw_anew(self.head)

    def forward(self, stage_output: Tensor) -> Tensor:
        """F_k = zeta_k(output of stage k): ``(N, C_k, H_k, W_k)`` to ``(N, C_K, H_K, W_K)`` (Eq. 2)."""
        x = stage_output
        for k in range(self.start + 1, len(self.cut.stages) + 1):
            x = run_stage(self.stages, self.cut, k, x)
        return x

    def classifier(self) -> list[nn.Module]:
        """The modules of g_k."""
        return [*(get_module(self.stages, name) for name in self.cut.after_pool or ()), self.head]

    def classify(self, pooled: Tensor) -> Tensor:
        """g_k: pooled F_k of shape ``(N, C_K)`` to logits ``(N, num_classes)``."""
        return self.head((after_pool(self.stages, self.cut, pooled),))
