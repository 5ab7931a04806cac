"""Activation checkpointing: keep less for the backward pass, and compute the rest once more there."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from functools import partial

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint


def checkpoint_blocks(backbone: nn.Module) -> None:
    """Checkpoint the residual blocks of ``backbone`` that ask for it, those with ``with_cp``, once each and correctly.

    The blocks' own checkpointing lets each norm update its running statistics in both forward passes, so with twice the
    momentum. Copies of the backbone, such as the branches', are checkpointed as it is.
    """
    for block in backbone.modules():
        if block is not backbone and getattr(block, 'with_cp', False):
            block.with_cp = False
            block.forward = partial(recomputed, block)


def recomputed(block: nn.Module, x: Tensor) -> Tensor:
    """``block(x)``, of which only ``x`` is kept for the backward pass."""
    forward = type(block).forward
    if not torch.is_grad_enabled():
        return forward(block, x)
    if torch.compiler.is_compiling():
        # A compiled backward pass recomputes values only, never the update of a buffer.
        return checkpoint(forward, block, x, use_reentrant=False)
    return checkpoint(forward, block, x, use_reentrant=False, context_fn=partial(first_and_second_pass, block))


def first_and_second_pass(block: nn.Module) -> tuple[contextlib.AbstractContextManager, ...]:
    """What the forward pass and its repetition run in."""
    return contextlib.nullcontext(), buffers_kept(block)


@contextlib.contextmanager
def buffers_kept(block: nn.Module) -> Iterator[None]:
    """Let ``block`` update copies of its buffers, the running statistics of its norms, and throw them away."""
    buffers = [(m, name, buffer) for m in block.modules() for name, buffer in m.named_buffers(recurse=False)]
    for module, name, buffer in buffers:
        setattr(module, name, buffer.clone())
    try:
        yield
    finally:
        for module, name, buffer in buffers:
            setattr(module, name, buffer)
