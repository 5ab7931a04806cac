"""Kills: a training is ended at a random moment, continued with ``--resume`` and compared with one that was not ended."""

from __future__ import annotations

import os
import random
import re
import signal
from pathlib import Path

from recipe import Reference
from sandbox import Outcome, Result, loads, on_hook, on_rename, on_write, same_training

# How often the Runner calls them in each training, at least.
HOOKS = {
    'before_train_iter': 6,
    'after_train_iter': 6,
    'before_val_iter': 6,
    'after_val_epoch': 3,
    'before_save_checkpoint': 3,
}
SIGNALS = (signal.SIGKILL, signal.SIGKILL, signal.SIGTERM, signal.SIGINT)


def trial(rng: random.Random, folder: Path, references: dict[str, Reference]) -> tuple[str, Outcome]:
    """One kill: what was done, and what it led to."""
    reference = references[rng.choice(('classification', 'classification', 'segmentation', 'detection'))]
    work_dir = folder / 'run'
    sent = rng.choice(SIGNALS)
    keep = f'default_hooks.checkpoint.max_keep_ckpts={rng.choice((1, 2, -1))}'
    moment, faults = moment_of(rng, work_dir, reference, sent)
    stopped = reference.train(work_dir, options=[keep], **faults)
    left = newest_whole(work_dir, reference.names)
    resumed = reference.train(work_dir, '--resume', options=[keep])
    outcome = judge(sent, stopped, left, resumed, work_dir, reference)
    return f'{reference.recipe}, {sent.name} {moment}, {keep.rsplit(".", 1)[1]}', outcome


def newest_whole(work_dir: Path, names: tuple[str, ...]) -> int:
    """How many of the checkpoints ``names`` had been written up to the newest one that loads."""
    return max((i for i, name in enumerate(names, 1) if loads(work_dir / name)), default=0)


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
    byte = rng.randrange(len(reference.names) * reference.last.stat().st_size)
    return f'in byte {byte} of what it writes', dict(prepare=lambda: on_write(work_dir, byte, end))


def judge(sent: int, stopped: Result, left: int, resumed: Result, work_dir: Path, reference: Reference) -> Outcome:
    """What came of a run that got a signal and left checkpoints of which the ``left``-th is the newest whole one."""
    broken = not_continued(stopped, left, resumed, work_dir, reference)
    if broken is not None:
        return broken
    if left and not re.search(r'resumed epoch: \d+', resumed.output):
        return Outcome('began anew beside a whole checkpoint', False)
    if stopped.status == 0:
        return Outcome('had ended before', True)
    if sent == signal.SIGTERM and stopped.status != 128 + sent and left < len(reference.names) and has_trained(stopped):
        return Outcome('identical to the bit, but SIGTERM ended it without a checkpoint', False)
    if sent != signal.SIGKILL and stopped.traceback:
        return Outcome('identical to the bit, but it ended with a traceback', False)
    return Outcome('identical to the bit', True)


def not_continued(stopped: Result, left: int, resumed: Result, work_dir: Path, reference: Reference) -> Outcome | None:
    """What is wrong with a run that was stopped and resumed, or None if its end is the reference's; arguments of judge."""
    saved = stopped.output.count('Saving checkpoint at ')
    last = work_dir / reference.names[-1]
    if stopped.hung or resumed.hung:
        return Outcome('hung', False)
    # The last of them may not have been written yet.
    if left < saved - 1:
        return Outcome(
            'lost a finished checkpoint', False, f'{saved} were begun, the newest whole one is number {left}'
        )
    if resumed.status:
        return Outcome('did not resume', False, resumed.last_line)
    if not last.exists() or not same_training(last, reference.last):
        return Outcome('resumed to other weights', False)
    return None


def has_trained(result: Result) -> bool:
    """Whether the log has an iteration."""
    return 'Epoch(train)' in result.output or 'Iter(train)' in result.output
