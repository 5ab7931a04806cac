"""What two processes tell each other after each iteration."""

import multiprocessing
import re
import sys

import pytest
import torch.distributed as dist

from mixskd_mm.cli import describe_process_failure
from mixskd_mm.engine.ranks import RankExchange
from mixskd_mm.errors import InputError

pytestmark = pytest.mark.skipif(sys.platform != 'linux', reason='processes that share what was imported')


def run(rank, folder, script, queue, timeout):
    dist.init_process_group('gloo', init_method=f'file://{folder}/store', rank=rank, world_size=2)
    exchange = RankExchange(timeout)
    try:
        queue.put((rank, [exchange(*told) for told in script]))
    except InputError as error:
        queue.put((rank, str(error)))
    except RuntimeError as error:
        queue.put((rank, describe_process_failure(error)))
    # The other one may not be done.
    dist.barrier() if timeout is None else None


def results(folder, scripts, timeout=None):
    """What each rank read after each iteration, or the message with which it ended; by rank."""
    context = multiprocessing.get_context('fork')
    queue = context.Queue()
    ranks = [
        context.Process(target=run, args=(rank, folder, script, queue, timeout)) for rank, script in enumerate(scripts)
    ]
    for rank in ranks:
        rank.start()
    found = dict(queue.get(timeout=1200) for _ in ranks)
    for rank in ranks:
        rank.join()
    return [found[0], found[1]]


def test_all_end_one_iteration_after_one_was_told(tmp_path):
    quiet = [(False, batch) for batch in range(4)]
    told = [(batch == 1, batch) for batch in range(4)]
    assert results(tmp_path, [quiet, told]) == [[False, False, True, False]] * 2


def test_a_batch_more_for_one_rank_is_seen_in_the_next_iteration(tmp_path):
    scripts = [[(False, batch) for batch in batches] for batches in ((0, 1, 2, 0), (0, 1, 0, 1))]
    message = (
        'one rank was at batch 3 of an epoch, another at 1: expected as many batches in each rank, which is up to the '
        'sampler of train_dataloader'
    )
    assert results(tmp_path, scripts) == [message] * 2


def test_who_waits_for_too_long_says_so(tmp_path):
    scripts = [[(False, 0), (False, 1)], []]
    waiting, gone = results(tmp_path, scripts, timeout=1)
    assert re.fullmatch(
        r'another process ended or was stuck \((Timed out waiting .*|Connection closed by peer.*|Read error .*)\): expected '
        r'all in step within env_cfg\.dist_cfg\.timeout',
        waiting,
    )
    assert gone == []
