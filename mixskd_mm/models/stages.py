"""Run a backbone stage by stage, phi_1 ... phi_K, and build the auxiliary branches b_k from the later stages.

Which modules a stage is says :mod:`mixskd_mm.models.cuts`, or the config's ``stages``.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from copy import deepcopy
from functools import partial, reduce

import torch
from mmengine.model import BaseModule
from mmpretrain.models.heads import LinearClsHead
from mmpretrain.registry import MODELS
from torch import Tensor, nn

from mixskd_mm.errors import InputError

from .cuts import Cut, declared_cut, find_cut
from .fresh import draw_anew, fresh_stages
from .recompute import recomputed

# Where backbones can run that expect a certain size.
PROBE_SIZES = (64, 224, 256)


def global_average_pool(feature: Tensor) -> Tensor:
    """GAP: ``(N, C, H, W)`` to ``(N, C)``."""
    return feature.mean((2, 3))


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
            :func:`~mixskd_mm.models.cuts.declared_cut`. Defaults to None: as the table of that module says.
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
        InputError: if ``check``, unless the stages, one after another, are the backbone.
    """
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


@torch.no_grad()
def check_output(backbone: nn.Module, cut: Cut) -> int | None:
    """Raise InputError unless the stem and the stages, one after another, give what ``backbone`` gives.

    Returns:
        int | None: Channels of the last map. None on the device "meta", where nothing is computed.
    """
    tensor = next(backbone.parameters(), torch.empty(0))
    if tensor.is_meta:
        return None
    kind = type(backbone).__name__
    net = deepcopy(backbone).double()
    net.eval()
    generator = torch.Generator(tensor.device).manual_seed(0)
    # Initial weights can hide a mistake: blocks that start at zero, or scales of 1e-6.
    for parameter in net.parameters():
        if parameter.ndim == 1:
            parameter.uniform_(0.5, 1.5, generator=generator)

    def run_both(size: int) -> tuple[Tensor, Tensor, int]:
        images = torch.randn(2, 3, size, size, dtype=torch.float64, device=tensor.device, generator=generator)
        own = net(images)
        own = own[-1] if isinstance(own, list | tuple) else own
        try:
            feature = run_all(net, cut, images)[-1]
            output = feature if cut.after_pool is None else after_pool(net, cut, global_average_pool(feature))
            return own, output, feature.shape[1]
        except Exception as error:
            raise InputError(
                f'backbone {kind} cannot be cut into stages: one after another they fail with {describe(error)} (expected '
                'stages that name the modules of its forward in their order)'
            ) from error

    own, output, width = first_that_runs(run_both, kind)
    if own.shape != output.shape or not torch.allclose(own, output, rtol=1e-6, atol=1e-9 * own.abs().max().item()):
        raise InputError(
            f'backbone {kind} cannot be cut into stages: it gives {tuple(own.shape)}, and they give another output, '
            f'{tuple(output.shape)} (expected stages that name the modules of its forward in their order, and maps '
            '(N, C, H, W))'
        )
    return width


def first_that_runs(function: Callable[[int], object], kind: str) -> object:
    """What ``function`` gives for images of the first of PROBE_SIZES that a backbone of this ``kind`` can take."""
    for size in PROBE_SIZES:
        try:
            return function(size)
        except InputError:
            raise
        except Exception as raised:
            error = raised
    sizes = ', '.join(map(str, PROBE_SIZES))
    raise InputError(f'backbone {kind} fails on images of {sizes} px with {describe(error)}') from error


def describe(error: Exception) -> str:
    """In one line."""
    return ' '.join(f'{type(error).__name__}: {error}'.split())[:200]


# --- Running them ------------------------------------------------------------------------------------------------------


def run_modules(net: nn.Module, cut: Cut, k: int, x: Tensor) -> Tensor:
    """phi_k of ``net``, which has its modules; for k = 0 the stem. ``(N, C, H, W)`` to ``(N, C_k, H_k, W_k)``."""
    names = cut.stages[k - 1] if k > 0 else cut.stem
    size = tuple(x.shape[2:])
    if k > 0 and cut.layout == 'NHWC':
        x = x.permute(0, 2, 3, 1)
    elif k > 0 and cut.layout == 'NLC':
        x = x.flatten(2).transpose(1, 2)
    for name in names:
        module = get_module(net, name)
        for part in module if isinstance(module, nn.ModuleList) else (module,):
            if name in cut.takes_size:
                x = part(x, size)
            elif type(part) is nn.LayerNorm and cut.layout == 'NCHW':
                x = part(x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)
            else:
                x = part(x)
            if isinstance(x, tuple):
                x, size = x
    if names and cut.layout == 'NHWC':
        return x.permute(0, 3, 1, 2)
    if names and cut.layout == 'NLC':
        return x.transpose(1, 2).unflatten(2, tuple(size))
    return x


def run_stage(net: nn.Module, cut: Cut, k: int, x: Tensor) -> Tensor:
    """As :func:`run_modules`; a stage that ``net`` is to recompute keeps its input only."""
    if k in getattr(net, 'recompute_stages', ()):
        modules = [get_module(net, name) for name in cut.stages[k - 1]]
        return recomputed(partial(run_modules, net, cut, k), modules, x)
    return run_modules(net, cut, k, x)


def after_pool(net: nn.Module, cut: Cut, pooled: Tensor) -> Tensor:
    """What the classifier reads, ``(N, C)``, of GAP of the last map, ``(N, C)``, for a backbone that pools itself."""
    for name in cut.after_pool or ():
        pooled = get_module(net, name)(pooled[:, :, None, None]).flatten(1)
    return pooled


def get_module(net: nn.Module, name: str) -> nn.Module:
    return reduce(getattr, name.split('.'), net)


def stage_outputs(backbone: nn.Module, images: Tensor, stem: bool = False) -> tuple[Tensor, ...]:
    """phi_1(x), ..., phi_K o ... o phi_1(x): the output of every stage, ``(N, C_k, H_k, W_k)`` (Eq. 1).

    The last one is F_K, the map that is pooled and classified. With ``stem``, what enters phi_1 comes first.
    """
    outputs = run_all(backbone, cut_of(backbone), images)
    return outputs if stem else outputs[1:]


def run_all(net: nn.Module, cut: Cut, images: Tensor) -> tuple[Tensor, ...]:
    """The outputs of the stem and of phi_1, ..., phi_K."""
    outputs = [run_modules(net, cut, 0, images)]
    for k in range(1, len(cut.stages) + 1):
        outputs.append(run_stage(net, cut, k, outputs[-1]))
    return tuple(outputs)


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
        self.names = stage_names(backbone)[start:]
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

    def classify(self, pooled: Tensor) -> Tensor:
        """g_k: pooled F_k of shape ``(N, C_K)`` to logits ``(N, num_classes)``."""
        return self.head((after_pool(self.stages, self.cut, pooled),))
