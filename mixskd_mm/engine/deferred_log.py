"""Log every loss of every iteration, but wait for the device once an interval only."""

from __future__ import annotations

import math

import torch
from mmengine.hooks import RuntimeInfoHook
from mmengine.registry import HOOKS

from mixskd_mm.errors import InputError


@HOOKS.register_module()
class DeferredRuntimeInfoHook(RuntimeInfoHook):
    """``RuntimeInfoHook`` that reads the outputs of ``interval`` iterations at once.

    mmengine's own hook copies each logged value to the host in each iteration and so waits for the device each time. This
    one keeps the values on the device and copies them together, when the logger is about to print. The logs are the same.
    Since it then sees every loss, it also stops the run at the first one that is NaN or infinite.

    Use it in the place of mmengine's: ``default_hooks=dict(runtime_info=dict(type='DeferredRuntimeInfoHook'))``.

    Args:
        interval (int): Iterations between two copies: that of the ``LoggerHook``, or a divisor of it. Defaults to 100.
    """

    def __init__(self, interval: int = 100) -> None:
        self.interval = interval
        self._pending: list[tuple[int, dict]] = []

    def after_train_iter(self, runner, batch_idx: int, data_batch=None, outputs: dict | None = None) -> None:
        if outputs is not None:
            self._pending.append((runner.iter, outputs))
        last_of_epoch = self.end_of_epoch(runner.train_dataloader, batch_idx)
        if last_of_epoch or self.every_n_inner_iters(batch_idx, self.interval) or self.is_last_train_iter(runner):
            self._flush(runner)

    def before_save_checkpoint(self, runner, checkpoint: dict) -> None:
        if self._pending:
            self._flush(runner)
            # The checkpoint copied the log before it called its hooks.
            log = runner.message_hub.state_dict()
            checkpoint['message_hub'].update(log_scalars=log['log_scalars'], resumed_keys=log['resumed_keys'])

    def _flush(self, runner) -> None:
        """Hand the pending values to the message hub. Raises InputError at a loss that is not finite."""
        pending, self._pending = self._pending, []
        for iteration, outputs in pending_to_floats(pending):
            for key, value in outputs.items():
                runner.message_hub.update_scalar(f'train/{key}', value)
            bad = [key for key, value in outputs.items() if 'loss' in key and not math.isfinite(value)]
            if bad:
                # 'loss' is only the sum of the others.
                terms = ', '.join(f'{key}={outputs[key]}' for key in bad if key != 'loss' or bad == ['loss'])
                raise InputError(
                    f'{terms} in iteration {iteration + 1}: expected finite losses. The run stops and no checkpoint is '
                    'written; a lower learning rate, a longer warm-up or clip_grad usually helps'
                )


def pending_to_floats(pending: list[tuple[int, dict]]) -> list[tuple[int, dict[str, float]]]:
    """The same list with Python floats for 0-d tensors, fetched with one copy."""
    tensors = [value for _, outputs in pending for value in outputs.values() if isinstance(value, torch.Tensor)]
    if not tensors:
        return pending
    floats = iter(torch.stack([t.detach().to(tensors[0].device, torch.float64) for t in tensors]).tolist())
    return [
        (iteration, {k: next(floats) if isinstance(v, torch.Tensor) else v for k, v in outputs.items()})
        for iteration, outputs in pending
    ]
