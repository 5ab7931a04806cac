"""Activation checkpointing: keep less for the backward pass, and compute the rest once more there."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from functools import partial

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from .stages import stage_names


def checkpoint_activations(backbone: nn.Module, stages: Sequence[int] = ()) -> None:
    """Checkpoint the residual blocks of ``backbone`` that were built with ``with_cp=True``; if none was, whole ``stages``.

    The blocks' own checkpointing lets each norm update its running statistics in both forward passes, so with twice the
    momentum; here they are updated once. Copies of the backbone, such as the branches', are checkpointed as it is.

    Args:
        backbone (nn.Module): One that can be cut into stages.
        stages (Sequence[int]): 1-based; of each only its input is kept. Defaults to (): none.
    """
    blocks = [module for module in backbone.modules() if module is not backbone and getattr(module, 'with_cp', False)]
    for block in blocks:
        block.with_cp = False
    names = stage_names(backbone)
    for part in blocks or [getattr(backbone, names[k - 1]) for k in stages]:
        part.forward = partial(recomputed, part)


def recomputed(part: nn.Module, x: Tensor) -> Tensor:
    """``part(x)``, of which only ``x`` is kept for the backward pass."""
    forward = type(part).forward
    if not torch.is_grad_enabled():
        return forward(part, x)
    if torch.compiler.is_compiling():
        # A compiled backward pass recomputes values only, never the update of a buffer.
        return checkpoint(forward, part, x, use_reentrant=False)
    return checkpoint(forward, part, x, use_reentrant=False, context_fn=partial(first_and_second_pass, part))


def first_and_second_pass(part: nn.Module) -> tuple[contextlib.AbstractContextManager, ...]:
    """What the forward pass and its repetition run in."""
    return contextlib.nullcontext(), BuffersKept(part)


class BuffersKept(contextlib.AbstractContextManager):
    """Lets ``part`` update copies of its buffers, the running statistics of its norms, and throws them away.

    Entered again by each further backward pass through the same graph.
    """

    def __init__(self, part: nn.Module) -> None:
        self.part = part

    def __enter__(self) -> None:
        modules = self.part.modules()
        self.buffers = [(m, name, buffer) for m in modules for name, buffer in m.named_buffers(recurse=False)]
        for module, name, buffer in self.buffers:
            setattr(module, name, buffer.clone())

    def __exit__(self, *error) -> None:
        for module, name, buffer in self.buffers:
            setattr(module, name, buffer)
