"""How backbones are cut into their stages phi_1 ... phi_K: which modules a stage is, one small table for all."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import pairwise

from mmpretrain.models import backbones
from torch import nn

from mixskd_mm.errors import InputError

LAYOUTS = ('NCHW', 'NHWC', 'NLC')


@dataclass
class Cut:
    """The modules of a backbone that are its stages, by their names in it, such as ``layer1`` or ``stages.0.blocks``.

    The modules of a stage run one after another; a ``ModuleList`` stands for its items. An ``nn.LayerNorm`` between maps
    normalises their channels.

    Args:
        stages (list[list[str]]): The modules of phi_1 ... phi_K, together with what normalises after the last, before GAP.
        stem (list[str]): What runs before phi_1. Defaults to []: nothing, phi_1 reads the images.
        layout (str): What modules of the stages take and give: maps ``NCHW`` or ``NHWC``, or tokens ``NLC``, L = H W, of
            which a module that has a second argument also gets (H, W), and which one that changes H and W returns
            together with (H, W). Stages take and give ``(N, C, H, W)`` whatever it is. Defaults to ``NCHW``.
        after_pool (list[str], optional): For a backbone that pools itself and has no neck: what runs between GAP and the
            classifier. Defaults to None: the backbone returns maps.
    """

    stages: list[list[str]]
    stem: list[str] = field(default_factory=list)
    layout: str = 'NCHW'
    after_pool: list[str] | None = None
    # Modules that take (tokens, (H, W)); check_parts finds them.
    takes_size: list[str] = field(default_factory=list, init=False)


# --- The table: one function for each family ---------------------------------------------------------------------------
# Where a family has no stages of its own, a stage is what has one resolution: strides 4, 8, 16 and 32.


def named(net: nn.Module) -> Cut:
    """Whatever names its stages in ``res_layers``: mmpretrain's ResNet family, the networks of this package."""
    names = list(net.res_layers)
    check_last_output(net, len(names))
    return Cut([[name] for name in names], list(modules_before(net, names[0])))


def mobilenet_v2(net: nn.Module) -> Cut:
    strides = [stride for *_, stride in net.arch_settings]
    check_last_output(net, len(net.layers))
    return Cut(by_resolution(net.layers, [*strides, 1]), ['conv1'])


def mobilenet_v3(net: nn.Module) -> Cut:
    strides = [stride for *_, stride in net.arch_settings[net.arch]]
    check_last_output(net, len(net.layers))
    return Cut(by_resolution(net.layers[1:], [*strides, 1]), net.layers[:1])


def efficientnet(net: nn.Module) -> Cut:
    """The first and the last of ``layers`` are convolutions, as in V2. A group's first block has its stride."""
    strides = [group[0][3] for group in net.layer_setting]
    check_last_output(net, len(net.layers))
    stem, *rest = items(net, 'layers')
    return Cut(by_resolution(rest, strides[1:]), [stem])


def efficientnet_v2(net: nn.Module) -> Cut:
    strides = [stride for _, _, stride, *_ in net.arch]
    check_last_output(net, len(net.layers))
    stem, *rest = items(net, 'layers')
    return Cut(by_resolution(rest, [*strides[:-1], 1]), [stem])


def shufflenet_v2(net: nn.Module) -> Cut:
    check_last_output(net, len(net.layers))
    *stages, conv = items(net, 'layers')
    return Cut([*([stage] for stage in stages[:-1]), [stages[-1], conv]], ['conv1', 'maxpool'])


def vgg(net: nn.Module) -> Cut:
    """Convolutions and the pooling after them."""
    check_last_output(net, len(net.stage_blocks))
    layers = items(net, net.module_name)
    return Cut([layers[start:end] for start, end in net.range_sub_modules])


def repvgg(net: nn.Module) -> Cut:
    check_last_output(net, len(net.stages))
    return Cut([*([stage] for stage in net.stages[:-1]), [net.stages[-1], 'ppf']], ['stem'])


def cspnet(net: nn.Module) -> Cut:
    check_last_output(net, net.num_stages)
    return Cut([[stage] for stage in items(net, 'stages')], ['stem'])


def densenet(net: nn.Module) -> Cut:
    """A dense block and the transition after it; after the last one, the final norm."""
    check_last_output(net, net.num_stages)
    pairs = zip(items(net, 'stages'), items(net, 'transitions'), strict=True)
    return Cut([list(pair) for pair in pairs], ['stem'])


def convnext(net: nn.Module) -> Cut:
    """The classifiers of ImageNet normalise what is pooled; with ``gap_before_final_norm=False`` the map is normalised."""
    last = check_last_output(net, net.num_stages)
    (stem, *downsampling), (first, *later) = items(net, 'downsample_layers'), items(net, 'stages')
    stages = [[first], *map(list, zip(downsampling, later, strict=True))]
    norm = f'norm{last}'
    if net.gap_before_final_norm:
        return Cut(stages, [stem], after_pool=[norm])
    return Cut([*stages[:-1], [*stages[-1], norm]], [stem])


def swin(net: nn.Module) -> Cut:
    """As its paper has it, patch merging is the beginning of the next stage."""
    last = check_last_output(net, net.num_layers)
    names = items(net, 'stages')
    stages = [[f'{names[0]}.blocks'], *([f'{a}.downsample', f'{b}.blocks'] for a, b in pairwise(names))]
    return Cut([*stages[:-1], [*stages[-1], f'norm{last}']], ['patch_embed', 'drop_after_pos'], 'NLC')


def poolformer(net: nn.Module) -> Cut:
    last = check_last_output(net, len(net.network))
    stages = [[]]
    for name, module in zip(items(net, 'network'), net.network, strict=True):
        if not isinstance(module, nn.Sequential):
            # The patch embedding between two stages.
            stages.append([])
        stages[-1].append(name)
    stages[-1].append(f'norm{last}')
    return Cut(stages, ['patch_embed'])


def van(net: nn.Module) -> Cut:
    count = check_last_output(net, net.num_stages) + 1
    stages = [[f'patch_embed{k}', f'blocks{k}', f'norm{k}'] for k in range(1, count + 1)]
    return Cut([stages[0][1:], *stages[1:]], stages[0][:1])


def timm_network(net: nn.Module) -> Cut:
    """A stage ends with a module of timm's ``feature_info``, the last one with the network."""
    model = net.timm_model
    info = getattr(model, 'feature_info', None) or []
    features = info.get_dicts() if hasattr(info, 'get_dicts') else info
    names = [feature['module'] for feature in features if feature['reduction'] >= 4]
    # With features_only=True, timm puts the modules into one dictionary.
    names = [name.replace('.', '_') if isinstance(model, nn.ModuleDict) else name for name in names]
    stages, modules = [], []
    for path in chain(model, names):
        modules.append(f'timm_model.{path}')
        if any(f'{name}.'.startswith(f'{path}.') for name in names):
            stages.append(modules)
            modules = []
    if len(stages) < 2:
        raise InputError(
            f'backbone TIMMBackbone cannot be cut into stages: feature_info of {type(model).__name__} names no modules at '
            "two strides >= 4 (expected stages=[['timm_model.<module>', ...], ...], the names of its stages' modules)"
        )
    *stem, first = stages[0]
    layout = 'NHWC' if getattr(model, 'output_fmt', 'NCHW') == 'NHWC' else 'NCHW'
    return Cut([[first], *stages[1:-1], stages[-1] + modules], stem, layout)


TABLE: dict[type, Callable[[nn.Module], Cut]] = {
    backbones.MobileNetV2: mobilenet_v2,
    backbones.MobileNetV3: mobilenet_v3,
    backbones.EfficientNet: efficientnet,
    backbones.EfficientNetV2: efficientnet_v2,
    backbones.ShuffleNetV2: shufflenet_v2,
    backbones.VGG: vgg,
    backbones.RepVGG: repvgg,
    backbones.CSPNet: cspnet,
    backbones.DenseNet: densenet,
    backbones.ConvNeXt: convnext,
    backbones.SwinTransformer: swin,
    backbones.PoolFormer: poolformer,
    backbones.VAN: van,
    backbones.TIMMBackbone: timm_network,
}


def items(net: nn.Module, name: str) -> list[str]:
    """Names of the items of the container ``name``."""
    return [f'{name}.{child}' for child, _ in getattr(net, name).named_children()]


def by_resolution(names: Sequence[str], strides: Sequence[int]) -> list[list[str]]:
    """Modules that follow a stem of stride 2, in groups of one resolution; those of stride 2 belong to the first group."""
    stages, downsampled = [[]], 0
    for name, stride in zip(names, strides, strict=True):
        downsampled += stride > 1
        if stride > 1 and downsampled > 1:
            stages.append([])
        stages[-1].append(name)
    return stages


def chain(module: nn.Module, names: Sequence[str], prefix: str = '') -> Iterator[str]:
    """Names of the modules that run one after another, if containers that hold one of ``names`` run item by item."""
    for child_name, child in module.named_children():
        path = prefix + child_name
        if isinstance(child, nn.Sequential | nn.ModuleList) and any(name.startswith(f'{path}.') for name in names):
            yield from chain(child, names, f'{path}.')
        else:
            yield path


def modules_before(module: nn.Module, first: str, prefix: str = '') -> Iterator[str]:
    """Names of the modules that were registered before ``first``."""
    for name, child in module.named_children():
        path = prefix + name
        if path == first:
            return
        if first.startswith(f'{path}.'):
            yield from modules_before(child, first, f'{path}.')
            return
        yield path


def check_last_output(net: nn.Module, count: int) -> int:
    """Index of the last of ``count`` outputs. Raises InputError unless ``out_indices`` has it last."""
    last = max(i + count if i < 0 else i for i in getattr(net, 'out_indices', (count - 1,)))
    if last != count - 1:
        raise InputError(
            f'backbone {type(net).__name__} out_indices={tuple(net.out_indices)}: expected {count - 1} to be the last, '
            'since the last stage feeds the classifier'
        )
    return last


def find_cut(backbone: nn.Module) -> Cut:
    """How ``backbone`` is cut if nobody says so.

    Raises:
        InputError: naming the backbone and what is missing.
    """
    kind = type(backbone).__name__
    if hasattr(backbone, 'res_layers'):
        return named(backbone)
    function = next((TABLE[base] for base in type(backbone).__mro__ if base in TABLE), None)
    if function is None:
        raise InputError(
            f'backbone {kind} cannot be cut into stages: it has no res_layers and docs/backbones.md does not list it '
            "(expected stages=[['module', ...], ...], the names of its stages' modules)"
        )
    return function(backbone)
