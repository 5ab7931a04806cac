"""Make the randomness of an epoch depend on the epoch, not on what ran before it."""

from __future__ import annotations

import numpy as np
from mmengine.dist import get_rank
from mmengine.hooks import Hook
from mmengine.registry import FUNCTIONS, HOOKS
from mmengine.runner import IterBasedTrainLoop, set_random_seed

from .finite_checkpoint import checkpoint_is_due
from .mid_epoch import MidEpochTrainLoop, gather_random_states


@HOOKS.register_module()
class EpochSeedHook(Hook):
    """Seed Python, NumPy and PyTorch at the start of each epoch with (seed of the run, rank, epoch).

    A run that resumes after epoch n then augments as the uninterrupted run would have, and no two ranks or epochs augment
    alike. Data loader workers follow if they are started anew in each epoch and seeded by the loader::

        train_dataloader = dict(persistent_workers=False, worker_init_fn=dict(type='keep_loader_seed'))

    mmengine seeds workers itself otherwise, with the same numbers in each epoch.

    A training that counts iterations, as of a segmenter, is seeded with the number of each iteration, so that dropout drops
    the same in a resumed run.

    A checkpoint from the middle of an epoch keeps the states of the generators, for :class:`MidEpochTrainLoop`.
    """

    # Before DataLoader workers start, and before any hook that draws.
    priority = 'HIGHEST'

    def before_train_epoch(self, runner) -> None:
        seed_with(runner.seed, runner.epoch)

    def before_train_iter(self, runner, batch_idx: int, data_batch=None) -> None:
        if isinstance(runner.train_loop, IterBasedTrainLoop):
            seed_with(runner.seed, runner.iter)

    def after_train_iter(self, runner, batch_idx: int, data_batch=None, outputs: dict | None = None) -> None:
        # Here, where all ranks are: a checkpoint is written by the first alone.
        if isinstance(runner.train_loop, MidEpochTrainLoop) and checkpoint_is_due(runner):
            runner.train_loop.random_states = gather_random_states()

    def before_save_checkpoint(self, runner, checkpoint: dict) -> None:
        states = getattr(runner.train_loop, 'random_states', None)
        if states is not None:
            checkpoint['random_states'] = states

    def after_load_checkpoint(self, runner, checkpoint: dict) -> None:
        if runner._resume and isinstance(runner._train_loop, MidEpochTrainLoop):
            runner.train_loop.random_states = checkpoint.get('random_states')


def seed_with(seed: int, number: int) -> None:
    """Seed Python, NumPy and PyTorch with (``seed``, rank, ``number``)."""
    sequence = np.random.SeedSequence([seed, get_rank(), number])
    set_random_seed(int(sequence.generate_state(1)[0]))


@FUNCTIONS.register_module()
def keep_loader_seed(worker_id: int) -> None:
    """A worker_init_fn that leaves a worker as PyTorch's DataLoader seeded it.

    That is Python, NumPy and PyTorch from the main process's generator, so from :class:`EpochSeedHook`.
    """
