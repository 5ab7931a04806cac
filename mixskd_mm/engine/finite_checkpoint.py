"""Never replace a good checkpoint with one that holds NaN."""

from __future__ import annotations

import torch
from mmengine.hooks import CheckpointHook, Hook
from mmengine.registry import HOOKS

from mixskd_mm.errors import InputError

from .checkpoint_keys import unwrap


@HOOKS.register_module()
class FiniteCheckpointHook(Hook):
    """Stop the run instead of saving weights that are NaN or infinite; the checkpoints on disk stay as they are.

    Raises:
        InputError: naming the first such tensors, before anything is written.
    """

    # After RuntimeInfoHook (VERY_HIGH, 10): DeferredRuntimeInfoHook names the bad loss.
    priority = 20

    def after_train_epoch(self, runner) -> None:
        check_finite(unwrap(runner.model).state_dict(), runner.iter)

    def after_train_iter(self, runner, batch_idx: int, data_batch=None, outputs: dict | None = None) -> None:
        # Before CheckpointHook, which removes old checkpoints before it writes the new one.
        if checkpoint_is_due(runner):
            check_finite(unwrap(runner.model).state_dict(), runner.iter)

    def before_save_checkpoint(self, runner, checkpoint: dict) -> None:
        check_finite(checkpoint['state_dict'], runner.iter)


def checkpoint_is_due(runner) -> bool:
    """Whether a checkpoint that is counted in iterations will be written after this one."""
    hooks = [hook for hook in runner.hooks if isinstance(hook, CheckpointHook) and not hook.by_epoch]
    return any(hook.every_n_train_iters(runner, hook.interval) for hook in hooks)


def check_finite(state: dict[str, torch.Tensor], iteration: int) -> None:
    """Raise InputError if a tensor of ``state`` has values that are NaN or infinite."""
    bad = [name for name, value in state.items() if value.is_floating_point() and not torch.isfinite(value).all()]
    if bad:
        raise InputError(
            f'{len(bad)} tensors of the model are NaN or infinite in iteration {iteration} ({", ".join(bad[:3])}): '
            'expected finite weights. The run stops and no checkpoint is written'
        )
