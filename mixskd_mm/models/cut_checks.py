"""What a config says of a backbone's stages, and whether stages are what the backbone itself computes."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from copy import deepcopy
from dataclasses import replace

import torch
from torch import Tensor, nn

from mixskd_mm.errors import InputError

from .cuts import LAYOUTS, Cut, find_cut, modules_before
from .running import after_pool, global_average_pool, run_all

# Where backbones can run that expect a certain size.
PROBE_SIZES = (64, 224, 256)


def declared_cut(backbone: nn.Module, stages: Sequence | dict, name: str = 'stages') -> Cut:
    """The cut that a config declares.

    Args:
        backbone (nn.Module): What is cut.
        stages (Sequence[Sequence[str]] | dict): ``Cut.stages``, or a dict of arguments of ``Cut``. What is left out is as
            for a backbone that the table knows; for others the stem is what was registered before the first stage.
        name (str): For messages. Defaults to ``stages``.

    Raises:
        InputError: if it is none.
    """
    try:
        known = find_cut(backbone)
    except InputError:
        known = None
    given = dict(stages) if isinstance(stages, dict) else dict(stages=stages)
    names = given.get('stages')
    fits = given.keys() <= {'stages', 'stem', 'layout', 'after_pool'} and given.get('layout', 'NCHW') in LAYOUTS
    fits = fits and isinstance(names, list | tuple) and len(names) > 1 and all(map(is_names, names)) and all(names)
    if not fits or not (is_names(given.get('stem', [])) and is_names(given.get('after_pool') or [])):
        raise InputError(
            f"{name}={stages!r}: expected names of modules, two stages or more, such as [['layer1'], ['layer2', 'down']], "
            f'or dict(stages=[...], stem=[...], layout={" or ".join(map(repr, LAYOUTS))}, after_pool=[...])'
        )
    if known is None:
        known = Cut([], list(modules_before(backbone, names[0][0])))
    else:
        known.stem = [module for module in known.stem if module not in flat(names)]
    return replace(known, **given)


def check_parts(backbone: nn.Module, cut: Cut) -> None:
    """Raise InputError unless each parameter of ``backbone`` has one place in ``cut``; note which modules take a size."""
    kind = type(backbone).__name__
    if len(cut.stages) < 2:
        raise InputError(f'backbone {kind} has {len(cut.stages)} stages: expected at least two')
    names = [*cut.stem, *flat(cut.stages), *(cut.after_pool or [])]
    modules = dict(backbone.named_modules(remove_duplicate=False))
    for i, name in enumerate(names):
        if name not in modules:
            raise InputError(f'backbone {kind} has no module {name!r}, which the stages name')
        # An activation may be used again.
        others = names[:i] if any(True for _ in modules[name].parameters()) else []
        if any(f'{name}.'.startswith(f'{other}.') or f'{other}.'.startswith(f'{name}.') for other in others):
            raise InputError(
                f'backbone {kind} module {name!r} is named twice, as a whole or in part: expected once in all stages'
            )
    left = [name for name, _ in backbone.named_parameters() if not any(name.startswith(f'{path}.') for path in names)]
    if left:
        raise InputError(
            f'backbone {kind} has {len(left)} parameters that belong to no stage, such as {left[0]}: expected each in a '
            'module of the stages, or they would not be trained'
        )
    if cut.layout == 'NLC':
        cut.takes_size = [name for name in names if takes_two(modules[name])]


def flat(groups: Sequence[Sequence[str]]) -> list[str]:
    """All names of the groups."""
    return [name for group in groups for name in group]


def takes_two(module: nn.Module) -> bool:
    """Whether ``module``, or each item of a ``ModuleList``, needs a second argument."""
    if isinstance(module, nn.ModuleList):
        return any(takes_two(item) for item in module)
    _, *arguments = inspect.signature(type(module).forward).parameters.values()
    positional = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    return sum(p.default is p.empty and p.kind in positional for p in arguments) > 1


def is_names(names) -> bool:
    return isinstance(names, list | tuple) and all(isinstance(name, str) for name in names)


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
            parameter.normal_(generator=generator)

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
    if own.shape != output.shape or not same_values(own, output):
        raise InputError(
            f'backbone {kind} cannot be cut into stages: it gives {tuple(own.shape)}, and they give another output, '
            f'{tuple(output.shape)} (expected stages that name the modules of its forward in their order, and maps '
            '(N, C, H, W))'
        )
    return width


def same_values(a: Tensor, b: Tensor) -> bool:
    return torch.allclose(a, b, rtol=1e-6, atol=1e-9 * a.nan_to_num().abs().max().item(), equal_nan=True)


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
