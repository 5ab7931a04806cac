"""Activation checkpointing: keep less for the backward pass, and compute the rest once more there."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Sequence
from functools import partial

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint


def checkpoint_activations(backbone: nn.Module, stages: Sequence[int] = ()) -> None:
    """Checkpoint the blocks of ``backbone`` that were built with ``with_cp=True``; if none was, whole ``stages``.

    The blocks' own checkpointing lets each norm update its running statistics in both forward passes, so with twice the
    momentum; here they are updated once. Branches that are made afterwards are checkpointed as the backbone is.

    Args:
        backbone (nn.Module): One that can be cut into stages.
        stages (Sequence[int]): 1-based; of each only its input is kept. Defaults to (): none.
    """
    blocks = [module for module in backbone.modules() if module is not backbone and getattr(module, 'with_cp', False)]
    for block in blocks:
        block.with_cp = False
        block.forward = partial(recomputed_block, block)
    if not blocks:
        backbone.recompute_stages = tuple(stages)


def recomputed_block(block: nn.Module, *inputs) -> Tensor:
    """``block(*inputs)``, of which only ``inputs`` are kept for the backward pass."""
    return recomputed(partial(type(block).forward, block), [block], *inputs)


def recomputed(function: Callable, modules: Sequence[nn.Module], *inputs) -> Tensor:
    """``function(*inputs)``, which runs ``modules`` and of which only ``inputs`` are kept for the backward pass."""
    if not torch.is_grad_enabled():
        return function(*inputs)
    if torch.compiler.is_compiling():
        # A compiled backward pass recomputes values only, never the update of a buffer.
        return checkpoint(function, *inputs, use_reentrant=False)
    return checkpoint(function, *inputs, use_reentrant=False, context_fn=partial(first_and_second_pass, modules))


def first_and_second_pass(modules: Sequence[nn.Module]) -> tuple[contextlib.AbstractContextManager, ...]:
    """What the forward pass and its repetition run in."""
    return contextlib.nullcontext(), BuffersKept(modules)


class BuffersKept(contextlib.AbstractContextManager):
    """Lets ``modules`` update copies of their buffers, the running statistics of norms, and throws them away.

    Entered again by each further backward pass through the same graph.
    """

    def __init__(self, modules: Sequence[nn.Module]) -> None:
        self.modules = modules

    def __enter__(self) -> None:
        parts = [part for module in self.modules for part in module.modules()]
        self.buffers = [(m, name, buffer) for m in parts for name, buffer in m.named_buffers(recurse=False)]
        for module, name, buffer in self.buffers:
            setattr(module, name, buffer.clone())

    def __exit__(self, *error) -> None:
        for module, name, buffer in self.buffers:
            setattr(module, name, buffer)
