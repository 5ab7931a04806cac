"""Data loaders that end with the run, and not before it."""

from __future__ import annotations

import os
import signal
import threading
from functools import partial

from mmengine.dist import all_gather_object
from mmengine.hooks import Hook
from mmengine.registry import HOOKS
from mmengine.runner import BaseLoop, EpochBasedTrainLoop
from torch.utils.data import DataLoader

from mixskd_mm.configs import timeout_of
from mixskd_mm.errors import InputError

# Seconds; torch's for processes that wait for each other on CPUs.
TIMEOUT = 1800


@HOOKS.register_module()
class LoaderCheckHook(Hook):
    """Data loaders give up on a worker that is stuck, survive a scheduler's SIGTERM, and give all ranks as many batches.

    A batch may take 80 % of the time that processes wait for each other, ``env_cfg.dist_cfg.timeout`` seconds, or 30
    minutes without it: the rank whose loader is stuck says so before the others miss it. The loader's own ``timeout`` goes
    before.

    Raises:
        InputError: if the training's loader does not give each rank as many batches an epoch.
    """

    def before_run(self, runner) -> None:
        timeout = timeout_of(runner.cfg) or TIMEOUT
        loops = (runner._train_loop, runner._val_loop, runner._test_loop)
        for loader in [loop.dataloader for loop in loops if isinstance(loop, BaseLoop)]:
            if isinstance(loader, DataLoader) and loader.num_workers > 0:
                loader.timeout = loader.timeout or 0.8 * timeout
                loader.worker_init_fn = partial(survive_sigterm, worker_init_fn=loader.worker_init_fn)

    def before_train(self, runner) -> None:
        if isinstance(runner.train_loop, EpochBasedTrainLoop):
            check_equal_lengths(all_gather_object(len(runner.train_dataloader)))


def check_equal_lengths(lengths: list[int]) -> None:
    """Raise InputError unless all ranks have as many batches an epoch."""
    for rank, length in enumerate(lengths):
        if length != lengths[0]:
            raise InputError(
                f'train_dataloader has {lengths[0]} batches an epoch for rank 0, {length} for rank {rank}: expected as many '
                'for each rank, which is up to its sampler'
            )


def survive_sigterm(worker_id: int, worker_init_fn=None) -> None:
    """A worker_init_fn that lets a worker live through a SIGTERM that its loader did not send, then calls another one.

    Schedulers send the signal to all processes of a job, and a training that is to save a checkpoint needs its workers.
    Where the system does not tell who sent a signal (macOS, Windows), workers end as ever.
    """
    if hasattr(signal, 'sigwaitinfo') and hasattr(signal, 'pthread_sigmask'):
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
        threading.Thread(target=_end_with_the_loader, daemon=True).start()
    if worker_init_fn is not None:
        worker_init_fn(worker_id)


def _end_with_the_loader() -> None:
    while signal.sigwaitinfo({signal.SIGTERM}).si_pid != os.getppid():
        pass
    os._exit(0)
