"""End a training at SIGTERM with a checkpoint, and continue it where that was written."""

from __future__ import annotations

import os
import signal
import sys
import threading

from mmengine.hooks import CheckpointHook, Hook
from mmengine.registry import HOOKS
from mmengine.runner import EpochBasedTrainLoop, IterBasedTrainLoop

from mixskd_mm.checkpoints.write import write_file
from mixskd_mm.resuming.find import INTERRUPTED

from .checkpoint_keys import training
from .mid_epoch import MidEpochTrainLoop, gather_random_states
from .ranks import RankExchange

# As a shell reports it; what Kubernetes' restartPolicy ExitCode starts again.
STATUS = 128 + signal.SIGTERM


@HOOKS.register_module()
class InterruptionHook(Hook):
    """At SIGTERM, save the checkpoint ``interrupted.pth`` after the next iteration, say so and exit with status 143.

    Schedulers send SIGTERM some time before they take a machine away. With several processes, all of them end after the
    same iteration, whichever was told; that they are at the same batch is checked on the way. The file is removed when the
    resumed training has written another checkpoint.

    A validation ends at once if the checkpoint before it has been written, otherwise after its last batch: hooks such as
    ``EMAHook`` exchange the weights meanwhile. The resumed run validates first.

    Raises:
        InputError: if the processes are at different batches.
    """

    # After CheckpointHook (VERY_LOW).
    priority = 'LOWEST'

    def __init__(self) -> None:
        self._told = False
        self._exchange: RankExchange | None = None
        self._before = None
        # The last checkpoint, and the iterations after which it was written.
        self._last: str | None = None
        self._last_iter = -1

    def before_train(self, runner) -> None:
        self._exchange = RankExchange.of(runner)
        if threading.current_thread() is threading.main_thread():
            self._before = signal.signal(signal.SIGTERM, self._tell)
        if runner._resume:
            self._last_iter = runner.iter
            if validation_is_due(runner):
                runner.val_loop.run()

    def after_train(self, runner) -> None:
        if self._before is not None:
            signal.signal(signal.SIGTERM, self._before)

    def _tell(self, signum: int, frame) -> None:
        self._told = True

    def after_train_epoch(self, runner) -> None:
        self._note_checkpoint(runner, runner.iter)

    def after_train_iter(self, runner, batch_idx: int, data_batch=None, outputs: dict | None = None) -> None:
        self._note_checkpoint(runner, runner.iter + 1)
        told = self._exchange(self._told, batch_idx) if self._exchange else self._told
        # Between the steps of an optimiser that accumulates gradients there is nothing to continue from.
        counts = (runner.cfg.get('optim_wrapper') or {}).get('accumulative_counts', 1)
        if told and (runner.iter + 1) % counts == 0:
            where = self._save(runner, dict(epoch=runner.epoch, iter=runner.iter + 1))
            if self._exchange:
                self._exchange.leave()
            end(runner.rank, runner.iter + 1, where)

    # Nothing is trained in a validation, so each process that is told can end by itself.
    def before_val(self, runner) -> None:
        if self._told and training(runner):
            self._end_between(runner)

    def after_val_iter(self, runner, batch_idx: int, data_batch=None, outputs=None) -> None:
        if self._told and self._last_iter == runner.iter:
            end(runner.rank, runner.iter, 'its checkpoint is saved')

    def after_val_epoch(self, runner, metrics: dict | None = None) -> None:
        if self._told and training(runner):
            self._end_between(runner)

    def _end_between(self, runner) -> None:
        """End after an iteration that has ended, with its checkpoint."""
        where = 'its checkpoint is saved'
        if self._last_iter != runner.iter:
            where = self._save(runner, dict(epoch=runner.epoch, iter=runner.iter))
        end(runner.rank, runner.iter, where)

    def _save(self, runner, meta: dict) -> str:
        """Save the state after iteration ``meta['iter']``, where it can be continued; says what was saved."""
        hook = checkpoint_hook(runner)
        if hook is None:
            return 'no checkpoint is saved, as the config has no CheckpointHook'
        loop = runner.train_loop
        if not isinstance(loop, IterBasedTrainLoop) and meta['iter'] != meta['epoch'] * len(loop.dataloader):
            if not isinstance(loop, MidEpochTrainLoop):
                return f'the last checkpoint stays, as {type(loop).__name__} continues only between epochs'
            loop.random_states = gather_random_states()
        # by_epoch=False: meta says both.
        runner.save_checkpoint(
            hook.out_dir,
            INTERRUPTED,
            hook.file_client_args,
            meta=meta,
            by_epoch=False,
            backend_args=hook.backend_args,
        )
        path = hook.file_backend.join_path(hook.out_dir, INTERRUPTED)
        if runner.rank == 0:
            write_file(os.path.join(runner.work_dir, 'last_checkpoint'), path.encode())
        return f'{path} is saved'

    def _note_checkpoint(self, runner, iteration: int) -> None:
        """If a checkpoint has been written after ``iteration``: it is the last, and an interrupted one before it goes."""
        hook = checkpoint_hook(runner)
        if hook is None or hook.last_ckpt == self._last:
            return
        self._last, self._last_iter = hook.last_ckpt, iteration
        path = hook.file_backend.join_path(hook.out_dir, INTERRUPTED)
        if runner.rank == 0 and hook.file_backend.isfile(path):
            hook.file_backend.remove(path)


def end(rank: int, iteration: int, where: str) -> None:
    """Exit with :data:`STATUS`; the first process says what was saved."""
    if rank == 0:
        line = f'SIGTERM: the training ends after iteration {iteration}; {where}; --resume continues'
        print(line, file=sys.stderr, flush=True)
    sys.exit(STATUS)


def checkpoint_hook(runner) -> CheckpointHook | None:
    """The hook of a run that writes its checkpoints."""
    return next((hook for hook in runner.hooks if isinstance(hook, CheckpointHook)), None)


def validation_is_due(runner) -> bool:
    """Whether a training is where its loop validates next, before it goes on."""
    loop = runner.train_loop
    if runner.val_loop is None:
        return False
    if isinstance(loop, EpochBasedTrainLoop):
        now, last = loop.epoch, loop.max_epochs
        if loop.iter != loop.epoch * len(loop.dataloader):
            return False
    else:
        now, last = loop.iter, loop.max_iters
    loop._decide_current_val_interval()
    return now > 0 and now >= loop.val_begin and (now % loop.val_interval == 0 or now == last)
