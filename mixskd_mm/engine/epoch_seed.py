"""Make the randomness of an epoch depend on the epoch, not on what ran before it."""

from __future__ import annotations

import itertools
from collections.abc import Callable

import mmengine
import numpy as np
from mmengine.dist import get_rank
from mmengine.hooks import Hook
from mmengine.registry import FUNCTIONS, HOOKS
from mmengine.runner import IterBasedTrainLoop, set_random_seed
from torch.utils.data import Dataset, get_worker_info

from mixskd_mm.differences import SKIPS_BATCHES

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
    the same in a resumed run; workers seed themselves with the number of each batch (:class:`BatchSeeds`).

    A checkpoint from the middle of an epoch keeps the states of the generators, for :class:`MidEpochTrainLoop`.
    """

    # Before DataLoader workers start, and before any hook that draws.
    priority = 'HIGHEST'

    def before_train_epoch(self, runner) -> None:
        if not isinstance(runner.train_loop, IterBasedTrainLoop):
            seed_with(runner.seed, runner.epoch)
            return
        seed_with(runner.seed, runner.iter)
        if runner.iter > 0 and not SKIPS_BATCHES:
            runner.logger.warning(
                f'mmengine {mmengine.__version__} does not skip the batches of the {runner.iter} iterations that are done: '
                'the run goes on with the first ones again; expected a later mmengine to end as the uninterrupted run'
            )
        loader = runner.train_dataloader
        # A sampler that does not skip gives all batches again, and all but the new ones are thrown away.
        first = runner.iter if hasattr(loader.sampler, 'skip') else 0
        self._batch_seeds = BatchSeeds(runner.seed, get_rank(), first, loader.worker_init_fn)
        if loader.num_workers > 0:
            loader.worker_init_fn = self._batch_seeds
        elif first < runner.iter:
            # The batches that are thrown away draw, too.
            self._batch_seeds.seed_batches_of(loader.dataset, first, 1)

    def after_train_iter(self, runner, batch_idx: int, data_batch=None, outputs: dict | None = None) -> None:
        if isinstance(runner.train_loop, IterBasedTrainLoop):
            # Here and not before the iteration: without workers its batch is loaded in between.
            seed_with(runner.seed, runner.iter + 1)
            self._batch_seeds.first = runner.iter + 1
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


def seed_with(seed: int, number: int, rank: int | None = None) -> None:
    """Seed Python, NumPy and PyTorch with (``seed``, rank, ``number``); by default with this process's rank."""
    sequence = np.random.SeedSequence([seed, get_rank() if rank is None else rank, number])
    set_random_seed(int(sequence.generate_state(1)[0]))


class BatchSeeds:
    """A worker_init_fn with which workers seed themselves before each batch, with (seed of the run, rank, batch).

    What a batch draws then depends on its number alone, not on the worker or on where the run began.

    Args:
        seed (int): Of the run.
        rank (int): Of the process that the loader serves.
        first (int): Number of the first batch that workers which start now will load.
        worker_init_fn (Callable, optional): Called first. Defaults to None.
    """

    def __init__(self, seed: int, rank: int, first: int, worker_init_fn: Callable[[int], None] | None = None) -> None:
        self.seed, self.rank, self.first, self.worker_init_fn = seed, rank, first, worker_init_fn

    def __call__(self, worker_id: int) -> None:
        if self.worker_init_fn is not None:
            self.worker_init_fn(worker_id)
        worker = get_worker_info()
        # The loader hands batches to its workers in turn.
        self.seed_batches_of(worker.dataset, self.first + worker_id, worker.num_workers)

    def seed_batches_of(self, dataset: Dataset, first: int, step: int) -> None:
        """Let ``dataset``, in this process, seed before it loads a batch: the first, first + step, ... of the training."""
        load = getattr(dataset, '__getitems__', None) or (lambda indices: [dataset[index] for index in indices])
        numbers = itertools.count(first, step)

        def seeded_items(indices: list[int]) -> list:
            seed_with(self.seed, next(numbers), self.rank)
            return load(indices)

        # What a loader asks for a batch, if a data set has it.
        dataset.__getitems__ = seeded_items


@FUNCTIONS.register_module()
def keep_loader_seed(worker_id: int) -> None:
    """A worker_init_fn that leaves a worker as PyTorch's DataLoader seeded it.

    That is Python, NumPy and PyTorch from the main process's generator, so from :class:`EpochSeedHook`.
    """
