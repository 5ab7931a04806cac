"""Run a model's convolutions in the channels_last memory format."""

from __future__ import annotations

import torch
from mmengine.hooks import Hook
from mmengine.model import is_model_wrapper
from mmengine.registry import HOOKS
from torch import Tensor, nn


def use_channels_last(model: nn.Module) -> None:
    """Give the first convolution of each backbone its images ``(N, C, H, W)`` laid out in memory as ``(N, H, W, C)``.

    A convolution answers in the format of its input, so all feature maps follow, also where a method runs the backbone
    stage by stage. The weights stay as they are: a distributed wrapper and a fused optimiser rely on the format that they
    were built with, and do not notice another one.
    """
    # Also those of a teacher, or of the second of two networks.
    backbones = [module for name, module in model.named_modules() if name.split('.')[-1] == 'backbone']
    for backbone in backbones:
        first = next(module for module in backbone.modules() if isinstance(module, nn.Conv2d))
        first.register_forward_pre_hook(channels_last_images)


def channels_last_images(conv: nn.Module, args: tuple[Tensor]) -> tuple[Tensor]:
    images, *others = args
    return images.contiguous(memory_format=torch.channels_last), *others


@HOOKS.register_module()
class ChannelsLastHook(Hook):
    """:func:`use_channels_last` for a run. Weights and checkpoints are those of a run without it."""

    def before_train(self, runner) -> None:
        use_channels_last(runner.model.module if is_model_wrapper(runner.model) else runner.model)
