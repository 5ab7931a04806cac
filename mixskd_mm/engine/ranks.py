"""What the processes of a distributed training tell each other."""

from __future__ import annotations

from datetime import timedelta

import torch
import torch.distributed as dist

from mixskd_mm.configs import timeout_of
from mixskd_mm.errors import InputError


class RankExchange:
    """After each iteration: whether any rank is to end, and whether all are at the same batch.

    A rank reads what was told an iteration ago, which has arrived meanwhile, so none waits for another.

    Args:
        timeout (float, optional): Seconds to wait for the others. Defaults to None: torch's default.
    """

    def __init__(self, timeout: float | None) -> None:
        # Shorter than for gradients: whoever waits says so before NCCL's watchdog ends it.
        self._timeout = timedelta(seconds=0.9 * timeout) if timeout else None
        self._group = dist.new_group(backend='gloo', timeout=self._timeout)
        self._told: tuple[dist.Work, torch.Tensor] | None = None

    @classmethod
    def of(cls, runner) -> RankExchange | None:
        """For a distributed run, with the time-out of its config (``env_cfg.dist_cfg.timeout``); None for another."""
        if not runner.distributed:
            return None
        return cls(timeout_of(runner.cfg))

    def __call__(self, end: bool, batch: int) -> bool:
        """Whether a rank was to end an iteration ago.

        Args:
            end (bool): Whether this one is.
            batch (int): Index of its batch in the epoch.

        Raises:
            InputError: if the ranks were at different batches.
            RuntimeError: torch's, if another rank ended or did not come to this iteration in time.
        """
        told = torch.tensor([int(end), batch, -batch])
        work = dist.all_reduce(told, dist.ReduceOp.MAX, group=self._group, async_op=True)
        before, self._told = self._told, (work, told)
        if before is None:
            return False
        work, told = before
        work.wait()
        end, most, least = told[0].item(), told[1].item(), -told[2].item()
        if most != least:
            raise InputError(
                f'one rank was at batch {most + 1} of an epoch, another at {least + 1}: expected as many batches in each '
                'rank, which is up to the sampler of train_dataloader'
            )
        return bool(end)

    def leave(self) -> None:
        """Wait until all ranks are here, to end together."""
        dist.barrier(self._group)
