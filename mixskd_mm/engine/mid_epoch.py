"""Continue an epoch from its middle."""

from __future__ import annotations

import random
from itertools import islice

import numpy as np
import torch
from mmengine.dist import all_gather_object, get_rank
from mmengine.registry import LOOPS
from mmengine.runner import EpochBasedTrainLoop

from mixskd_mm.errors import InputError


@LOOPS.register_module()
class MidEpochTrainLoop(EpochBasedTrainLoop):
    """mmengine's ``EpochBasedTrainLoop``, which also resumes from a checkpoint that was written within an epoch.

    The batches that the epoch has had are loaded again and left out, so that samplers and workers are where they were; then
    the states of the generators of random numbers in the checkpoint are set. The rest of the epoch is to the bit what the
    uninterrupted run would have trained.

    Args:
        by_epoch (bool): True, as recipes say it that name no loop. Defaults to True.
        args, kwargs: For mmengine's loop.

    Raises:
        InputError: for another ``by_epoch``.
    """

    # Of each rank, from or for a checkpoint within an epoch; None otherwise.
    random_states: list[dict] | None = None

    def __init__(self, *args, by_epoch: bool = True, **kwargs) -> None:
        if by_epoch is not True:
            raise InputError(
                f'train_cfg.by_epoch={by_epoch!r} with MidEpochTrainLoop, which counts epochs: expected '
                'train_cfg.type=IterBasedTrainLoop to count iterations'
            )
        super().__init__(*args, **kwargs)

    def run_epoch(self) -> None:
        """Iterate one epoch, or what is left of it."""
        self.runner.call_hook('before_train_epoch')
        self.runner.model.train()
        batches = enumerate(self.dataloader)
        if self.trained_batches:
            for _ in islice(batches, self.trained_batches):
                pass
            set_random_state(self.random_states[get_rank()])
        for idx, data_batch in batches:
            self.run_iter(idx, data_batch)
        self.random_states = None
        self.runner.call_hook('after_train_epoch')
        self._epoch += 1

    @property
    def trained_batches(self) -> int:
        """How many batches the present epoch has had."""
        return self._iter - self._epoch * len(self.dataloader)


def gather_random_states() -> list[dict]:
    """:func:`random_state` of each rank. All ranks have to call it."""
    return all_gather_object(random_state())


def random_state() -> dict:
    """State of the generators of Python, NumPy, PyTorch and this process's GPU, in types that load without running code."""
    algorithm, keys, *rest = np.random.get_state()
    version, numbers, gauss = random.getstate()
    state = dict(
        python=(version, list(numbers), gauss),
        numpy=(algorithm, keys.tolist(), *rest),
        torch=torch.get_rng_state(),
    )
    if torch.cuda.is_available():
        state['cuda'] = torch.cuda.get_rng_state()
    return state


def set_random_state(state: dict) -> None:
    """Set the generators to what :func:`random_state` gave."""
    version, numbers, gauss = state['python']
    random.setstate((version, tuple(numbers), gauss))
    np.random.set_state(tuple(state['numpy']))
    torch.set_rng_state(state['torch'])
    if 'cuda' in state and torch.cuda.is_available():
        torch.cuda.set_rng_state(state['cuda'])
