"""Run a backbone, or the later stages of one, module by module as a :class:`~mixskd_mm.models.cuts.Cut` says."""

from __future__ import annotations

from functools import partial, reduce

from torch import Tensor, nn

from .cuts import Cut
from .recompute import recomputed


def global_average_pool(feature: Tensor) -> Tensor:
    """GAP: ``(N, C, H, W)`` to ``(N, C)``."""
    return feature.mean((2, 3))


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


def run_all(net: nn.Module, cut: Cut, images: Tensor) -> tuple[Tensor, ...]:
    """The outputs of the stem and of phi_1, ..., phi_K."""
    outputs = [run_modules(net, cut, 0, images)]
    for k in range(1, len(cut.stages) + 1):
        outputs.append(run_stage(net, cut, k, outputs[-1]))
    return tuple(outputs)
