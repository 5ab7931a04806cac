"""Loaders end with the run, and not before it."""

import multiprocessing
import os
import signal
import subprocess
import time

import pytest
import tiny
from torch.utils.data import DataLoader, Dataset

from mixskd_mm.engine import keep_loader_seed
from mixskd_mm.engine.loader_check import check_equal_lengths, survive_sigterm
from mixskd_mm.errors import InputError


class Pids(Dataset):
    """Who gave the item; item 3 does not come."""

    def __len__(self):
        return 4

    def __getitem__(self, index):
        if index == 3:
            time.sleep(3600)
        return os.getpid()


def test_each_rank_needs_as_many_batches():
    check_equal_lengths([5, 5])
    with pytest.raises(
        InputError,
        match=r'^train_dataloader has 5 batches an epoch for rank 0, 4 for rank 2: expected as many for each',
    ):
        check_equal_lengths([5, 5, 4])


@pytest.mark.skipif(not hasattr(signal, 'sigwaitinfo'), reason='the system does not tell who sent a signal')
def test_a_worker_lives_through_a_sigterm_that_its_loader_did_not_send():
    loader = iter(DataLoader(Pids(), num_workers=1, prefetch_factor=1, worker_init_fn=survive_sigterm))
    worker = next(loader).item()
    subprocess.run(['sh', '-c', f'kill -TERM {worker}'], check=True)
    assert [next(loader).item() for _ in range(2)] == [worker] * 2
    (process,) = [process for process in multiprocessing.active_children() if process.pid == worker]
    process.terminate()
    process.join(timeout=1200)
    assert process.exitcode == 0


@pytest.mark.parametrize(('settings', 'seconds'), [({}, 1440), ({'env_cfg.dist_cfg.timeout': 60}, 48)])
def test_loaders_with_workers_give_up_after_the_time_out(tmp_path, settings, seconds):
    options = {'train_dataloader.num_workers': 1, 'train_cfg.max_epochs': 1, **settings}
    runner = tiny.train(tiny.make_config(tmp_path, options))
    assert (runner.train_dataloader.timeout, runner.val_dataloader.timeout) == (seconds, 0)
    assert runner.train_dataloader.worker_init_fn.func is survive_sigterm
    # The recipe's.
    assert runner.train_dataloader.worker_init_fn.keywords['worker_init_fn'].func is keep_loader_seed


def test_the_loader_s_own_time_out_goes_before(tmp_path):
    options = {'train_dataloader.num_workers': 1, 'train_cfg.max_epochs': 1, 'train_dataloader.timeout': 7}
    assert tiny.train(tiny.make_config(tmp_path, options)).train_dataloader.timeout == 7
