"""Kills: a training is ended at a random moment, continued with ``--resume`` and compared with one that was not ended."""

from __future__ import annotations

import os
import random
import re
import signal
from pathlib import Path

from recipe import EPOCHS, Reference
from sandbox import Outcome, Result, on_hook, on_rename, on_write, same_training, whole_checkpoints

# How often the Runner calls them in the training.
HOOKS = {
    'before_train_iter': 9,
    'after_train_iter': 9,
    'before_val_iter': 9,
    'after_val_epoch': 3,
    'after_train_epoch': 3,
    'before_save_checkpoint': 3,
}
SIGNALS = (signal.SIGKILL, signal.SIGKILL, signal.SIGTERM, signal.SIGINT)


def trial(rng: random.Random, folder: Path, reference: Reference) -> tuple[str, Outcome]:
    """One kill: what was done, and what it led to."""
    work_dir = folder / 'run'
    sent = rng.choice(SIGNALS)
    keep = f'default_hooks.checkpoint.max_keep_ckpts={rng.choice((1, 2, -1))}'
    moment, faults = moment_of(rng, work_dir, reference, sent)
    stopped = reference.train(work_dir, options=[keep], **faults)
    left = [int(path.stem.removeprefix('epoch_')) for path in whole_checkpoints(work_dir)]
    resumed = reference.train(work_dir, '--resume', options=[keep])
    outcome = judge(sent, stopped, max(left, default=0), resumed, work_dir, reference)
    return f'{sent.name} {moment}, {keep.rsplit(".", 1)[1]}', outcome


def moment_of(rng: random.Random, work_dir: Path, reference: Reference, sent: int) -> tuple[str, dict]:
    """When the process gets the signal: in words, and as arguments of :func:`sandbox.run`."""

    def end() -> None:
        os.kill(os.getpid(), sent)

    kind = rng.choice(('time', 'hook', 'byte', 'rename'))
    if kind == 'time':
        seconds = rng.uniform(0, reference.seconds)
        return f'after {seconds:.2f} s', dict(interrupt=(seconds, sent))
    if kind == 'hook':
        name = rng.choice(list(HOOKS))
        count = rng.randint(1, HOOKS[name])
        return f'at call {count} of {name}', dict(prepare=lambda: on_hook(name, count, end))
    if kind == 'rename':
        count = rng.randint(1, 5)
        return f'before rename or removal {count}', dict(prepare=lambda: on_rename(work_dir, count, end))
    byte = rng.randrange(EPOCHS * reference.checkpoint().stat().st_size)
    return f'in byte {byte} of what it writes', dict(prepare=lambda: on_write(work_dir, byte, end))


def judge(sent: int, stopped: Result, left: int, resumed: Result, work_dir: Path, reference: Reference) -> Outcome:
    """What came of a run that got a signal and left whole checkpoints up to epoch ``left``."""
    saved = len(re.findall(r'Saving checkpoint at \d+ epochs', stopped.output))
    last = work_dir / f'epoch_{EPOCHS}.pth'
    if stopped.hung or resumed.hung:
        return Outcome('hung', False)
    # The last of them may not have been written yet.
    if left < saved - 1:
        return Outcome('lost a finished checkpoint', False, f'{saved} epochs were saved, {left} are left')
    if resumed.status:
        return Outcome('did not resume', False, resumed.last_line)
    if not last.exists() or not same_training(last, reference.checkpoint()):
        return Outcome('resumed to other weights', False)
    if left and not re.search(r'resumed epoch: \d+', resumed.output):
        return Outcome('began anew beside a whole checkpoint', False)
    if stopped.status == 0:
        return Outcome('it had ended before', True)
    if sent == signal.SIGTERM and stopped.status == -sent and left < EPOCHS and 'Epoch(train)' in stopped.output:
        return Outcome('identical to the bit, but SIGTERM ended it without a checkpoint', False)
    if sent != signal.SIGKILL and stopped.traceback:
        return Outcome('identical to the bit, but it ended with a traceback', False)
    return Outcome('identical to the bit', True)
