"""Never replace a good checkpoint with one that holds NaN."""

from __future__ import annotations

import torch
from mmengine.hooks import Hook
from mmengine.registry import HOOKS

from mixskd_mm.errors import InputError


@HOOKS.register_module()
class FiniteCheckpointHook(Hook):
    """Stop the run instead of saving weights that are NaN or infinite; the checkpoints on disk stay as they are.

    Raises:
        InputError: naming the first such tensors, before anything is written.
    """

    priority = 'VERY_HIGH'

    def before_save_checkpoint(self, runner, checkpoint: dict) -> None:
        bad = [
            name
            for name, value in checkpoint['state_dict'].items()
            if value.is_floating_point() and not torch.isfinite(value).all()
        ]
        if bad:
            raise InputError(
                f'{len(bad)} tensors of the model are NaN or infinite in iteration {runner.iter} ({", ".join(bad[:3])}, '
                '...): expected finite weights. The run stops and no checkpoint is written'
            )
