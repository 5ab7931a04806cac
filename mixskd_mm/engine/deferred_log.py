"""Log every loss of every iteration, but wait for the device once an interval only."""

from __future__ import annotations

import math

import torch
from mmengine.hooks import LoggerHook, RuntimeInfoHook
from mmengine.logging import HistoryBuffer, MessageHub
from mmengine.registry import HOOKS

from mixskd_mm.devices import dtype_on
from mixskd_mm.errors import InputError

from .finite_checkpoint import checkpoint_is_due

HISTORY = 10_000


@HOOKS.register_module()
class DeferredRuntimeInfoHook(RuntimeInfoHook):
    """``RuntimeInfoHook`` that reads the outputs of ``interval`` iterations at once.

    mmengine's own hook copies each logged value to the host in each iteration and so waits for the device each time. This
    one keeps the values on the device and copies them together, when the logger is about to print. The logs are the same.
    Since it then sees every loss, it also stops the run at the first one that is NaN or infinite.

    It also bounds what is logged: of each value, the last epoch's iterations are kept, at least :data:`HISTORY`, unless the
    ``LogProcessor`` asks for a ``window_size`` of more. mmengine keeps a million, copies them in every iteration and saves
    them in every checkpoint.

    Use it in the place of mmengine's: ``default_hooks=dict(runtime_info=dict(type='DeferredRuntimeInfoHook'))``.

    Args:
        interval (int, optional): Iterations between two copies, a divisor of the ``LoggerHook``'s interval. Defaults to
            None: the ``LoggerHook``'s.
    """

    def __init__(self, interval: int | None = None) -> None:
        self.interval = interval
        self._pending: list[tuple[int, dict]] = []

    def before_train(self, runner) -> None:
        super().before_train(runner)
        if self.interval is None:
            self.interval = min((hook.interval for hook in runner.hooks if isinstance(hook, LoggerHook)), default=100)

    def after_train_iter(self, runner, batch_idx: int, data_batch=None, outputs: dict | None = None) -> None:
        if outputs is not None:
            # Copies: a value may be part of a graph, or of memory that the next compiled step writes to.
            copies = {k: v.detach().clone() if isinstance(v, torch.Tensor) else v for k, v in outputs.items()}
            self._pending.append((runner.iter, copies))
        # The last two name the term before a checkpoint is refused.
        due = self.every_n_inner_iters(batch_idx, self.interval) or self.is_last_train_iter(runner)
        if due or self.end_of_epoch(runner.train_dataloader, batch_idx) or checkpoint_is_due(runner):
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
        keep_last(runner.message_hub, history_length(runner))


def history_length(runner) -> int | None:
    """How many of the last values of each kind are needed; None if all are."""
    windows = [entry.get('window_size') for entry in runner.log_processor.custom_cfg]
    if 'global' in windows:
        return None
    numbers = [window for window in (*windows, runner.log_processor.window_size) if isinstance(window, int)]
    return max(HISTORY, len(runner.train_dataloader), *numbers)


def keep_last(hub: MessageHub, length: int | None) -> None:
    """Let each history of ``hub`` hold no more than the last ``length`` values, now and later; all with None."""
    for key, buffer in hub.log_scalars.items():
        if length is not None and buffer.max_length != length:
            values, counts = (history[-length:] for history in buffer.data)
            hub.log_scalars[key] = HistoryBuffer(values, counts, max_length=length)


def pending_to_floats(pending: list[tuple[int, dict]]) -> list[tuple[int, dict[str, float]]]:
    """The same list with Python floats for 0-d tensors, fetched with one copy."""
    tensors = [value for _, outputs in pending for value in outputs.values() if isinstance(value, torch.Tensor)]
    if not tensors:
        return pending
    device = tensors[0].device
    floats = iter(torch.stack([t.to(device, dtype_on(device)) for t in tensors]).tolist())
    return [
        (iteration, {k: next(floats) if isinstance(v, torch.Tensor) else v for k, v in outputs.items()})
        for iteration, outputs in pending
    ]
