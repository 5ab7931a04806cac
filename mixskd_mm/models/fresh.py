"""New networks like a given one, whose weights start as that one's did: what auxiliary branches are made of."""

from __future__ import annotations

import inspect
import logging
from collections.abc import Collection
from copy import deepcopy

from mmengine.logging import MMLogger
from mmengine.model import BaseModule, PretrainedInit
from mmpretrain.registry import MODELS
from torch import nn

from mixskd_mm.errors import InputError

from .recompute import checkpoint_activations

# What mmpretrain's ResNets use unless told otherwise.
HE_INIT = [
    dict(type='Kaiming', layer=['Conv2d']),
    dict(type='Constant', val=1, layer=['_BatchNorm', 'GroupNorm']),
]


def init_quietly(module: nn.Module) -> None:
    """``module.init_weights()``, without the line per parameter that mmengine prints where no run writes a log."""
    logger = MMLogger.get_current_instance()
    level = logger.level
    logger.setLevel(logging.WARNING)
    try:
        module.init_weights()
    finally:
        logger.setLevel(level)


def fresh_stages(backbone: nn.Module, names: Collection[str]) -> nn.Module:
    """A new network like ``backbone`` that has only the modules ``names``, trainable and never with pretrained weights.

    It is an object of the backbone's class, so that ``init_weights`` initialises it as the backbone is initialised. It is
    built from the backbone's config, if that is known (``prepare_backbone``); otherwise it is a copy whose weights are
    drawn anew.

    Raises:
        InputError: if a copy has weights that nothing draws anew.
    """
    config = getattr(backbone, 'build_config', None)
    if config is None:
        net = deepcopy(backbone)
        keep_modules(net, names)
        draw_anew(net)
    else:
        net = MODELS.build(without_pretrained(config))
        keep_modules(net, names)
    net.frozen_stages = -1
    net.norm_eval = False
    checkpoint_activations(net, getattr(backbone, 'recompute_stages', ()))
    net.train()
    return net.requires_grad_(True)


def without_pretrained(config: dict) -> dict:
    """Config of the same network with its initial weights."""
    config = {key: value for key, value in config.items() if key not in ('pretrained', 'checkpoint_path')}
    if is_pretrained(config.get('init_cfg')):
        fresh = without_pretrained_init(config.pop('init_cfg'))
        config.update(dict(init_cfg=fresh) if fresh else {})
    return config


def keep_modules(module: nn.Module, names: Collection[str], prefix: str = '') -> None:
    """Delete all parts of ``module`` but those ``names``; what is left keeps its name."""
    for name, child in list(module._modules.items()):
        path = prefix + name
        if any(kept.startswith(f'{path}.') for kept in names):
            keep_modules(child, names, f'{path}.')
        elif path not in names:
            del module._modules[name]
    module._parameters.clear()
    module._buffers.clear()


def draw_anew(net: nn.Module) -> None:
    """Give all modules of ``net`` the weights that they had before training."""
    for name, module in net.named_modules():
        init_cfg = getattr(module, 'init_cfg', None)
        if is_pretrained(init_cfg):
            argument = inspect.signature(type(module)).parameters.get('init_cfg')
            default = getattr(argument, 'default', None)
            default = default if isinstance(default, dict | list) else HE_INIT
            module.init_cfg = without_pretrained_init(init_cfg) or deepcopy(default)
        reset = getattr(module, 'reset_parameters', None) or getattr(module, '_reset_parameters', None)
        if reset is not None:
            reset()
        elif getattr(type(module), 'init_weights', BaseModule.init_weights) is BaseModule.init_weights:
            # A scale of one value is what it was before training.
            drawn = [key for key, p in module.named_parameters(recurse=False) if (p != p.flatten()[0]).any()]
            if drawn:
                raise InputError(
                    f'backbone {type(net).__name__} is a module, and its parameter {name}.{drawn[0]} cannot be drawn anew '
                    'for the branches: expected the config of the backbone'
                )
        module._is_init = False


def is_pretrained(init_cfg: dict | list[dict] | None) -> bool:
    return len(without_pretrained_init(init_cfg)) < len(as_list(init_cfg))


def without_pretrained_init(init_cfg: dict | list[dict] | None) -> list[dict]:
    return [config for config in as_list(init_cfg) if config['type'] not in ('Pretrained', PretrainedInit)]


def as_list(init_cfg: dict | list[dict] | None) -> list[dict]:
    if init_cfg is None:
        return []
    return [init_cfg] if isinstance(init_cfg, dict) else list(init_cfg)
