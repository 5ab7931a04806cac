"""The same architectures in other libraries, and what these call the tensors."""

from __future__ import annotations

import re
from collections.abc import Callable

from torch import nn

from mixskd_mm.errors import InputError

from .requirement import required


def torchvision_name(key: str) -> str:
    """mmpretrain's name of a ResNet's tensor to torchvision's, which timm shares."""
    return key.removeprefix('backbone.').replace('head.fc.', 'fc.')


def detectron2_name(key: str) -> str | None:
    """mmpretrain's name of a ResNet's tensor to detectron2's; None for what its backbones do not have.

    ``backbone.layer1.0.bn1.weight`` is ``res2.0.conv1.norm.weight`` there.
    """
    if not key.startswith('backbone.') or key.endswith('.num_batches_tracked'):
        return None
    name = key.removeprefix('backbone.')
    if name.startswith('layer'):
        name = re.sub(r'^layer(\d+)', lambda match: f'res{int(match[1]) + 1}', name)
    else:
        name = f'stem.{name}'
    name = re.sub(r'\bbn(\d)\b', r'conv\1.norm', name)
    return name.replace('downsample.0.', 'shortcut.').replace('downsample.1.', 'shortcut.norm.')


def detectron2_settings(backbone: nn.Module) -> list[str]:
    """The settings of detectron2 that build this architecture, where they are not its defaults."""
    settings = [f'MODEL.RESNETS.DEPTH={backbone.depth}', 'MODEL.RESNETS.STRIDE_IN_1X1=False']
    if backbone.depth < 50:
        settings.append('MODEL.RESNETS.RES2_OUT_CHANNELS=64')
    if hasattr(backbone, 'groups'):
        settings += [f'MODEL.RESNETS.NUM_GROUPS={backbone.groups}']
        settings += [f'MODEL.RESNETS.WIDTH_PER_GROUP={backbone.width_per_group}']
    return settings


def counterpart(backbone: nn.Module, num_classes: int, models: Callable[[str], nn.Module], library: str) -> nn.Module:
    """The model of another library with the architecture of ``backbone``.

    Raises:
        InputError: if that library has none.
    """
    kind = type(backbone).__name__
    names = {'ResNet': 'resnet{depth}', 'ResNeXt': 'resnext{depth}_{groups}x{width_per_group}d'}
    usual = dict(
        deep_stem=False,
        avg_down=False,
        strides=(1, 2, 2, 2),
        dilations=(1, 1, 1, 1),
        style='pytorch',
        base_channels=64,
        stem_channels=64,
        num_stages=4,
    )
    different = [f'{name}={getattr(backbone, name, None)}' for name in usual if vars(backbone).get(name) != usual[name]]
    try:
        if different or kind not in names:
            raise ValueError(kind)
        return models(names[kind].format(**vars(backbone)), num_classes)
    except InputError:
        # A ValueError too: the library is not installed.
        raise
    except (ValueError, RuntimeError, KeyError) as error:
        settings = f' with {", ".join(different)}' if different and kind in names else ''
        raise InputError(no_counterpart(library, f'{kind}-{getattr(backbone, "depth", "?")}{settings}')) from error


def no_counterpart(library: str, network: str) -> str:
    """One line that says so."""
    return (
        f'{library} has no counterpart of {network} that this package knows: expected a plain ResNet or ResNeXt; use the '
        'format mm, safetensors or onnx'
    )


def torchvision_model(name: str, num_classes: int) -> nn.Module:
    import torchvision

    return torchvision.models.get_model(name, weights=None, num_classes=num_classes)


def timm_model(name: str, num_classes: int) -> nn.Module:
    return required('timm', 'timm').create_model(name, pretrained=False, num_classes=num_classes)
