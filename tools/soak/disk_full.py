"""Full disks: the work directory has no room for a random number of bytes; then it has, and the run is resumed."""

from __future__ import annotations

import errno
import os
import random
import re
from pathlib import Path

from recipe import EPOCHS, Reference
from sandbox import Outcome, Result, on_write, same_training, size_of, whole_checkpoints


def trial(rng: random.Random, folder: Path, reference: Reference) -> tuple[str, Outcome]:
    """One full disk: what was done, and what it led to."""
    work_dir = folder / 'run'
    work_dir.mkdir()
    kept = rng.choice((1, 2, -1))
    keep = f'default_hooks.checkpoint.max_keep_ckpts={kept}'
    # Half of them in the first files, before there is a checkpoint, or in the log.
    logs = size_of(reference.work_dir) - EPOCHS * reference.checkpoint().stat().st_size
    room = rng.randrange(logs) if rng.random() < 0.25 else rng.randrange(size_of(reference.work_dir))
    full = reference.train(work_dir, options=[keep], prepare=lambda: on_write(work_dir, room, fail, held=True))
    left = whole_checkpoints(work_dir)
    partial = sorted(set(work_dir.glob('*.pth')) - set(left))
    resumed = reference.train(work_dir, '--resume', options=[keep])
    return f'room for {room} bytes, max_keep_ckpts={kept}', judge(full, left, partial, resumed, work_dir, reference)


def fail() -> None:
    """What a write to a full disk does."""
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def judge(
    full: Result, left: list[Path], partial: list[Path], resumed: Result, work_dir: Path, reference: Reference
) -> Outcome:
    """What came of a run whose disk was full, and of resuming it."""
    saved = len(re.findall(r'Saving checkpoint at \d+ epochs', full.output))
    newest = max((int(path.stem.removeprefix('epoch_')) for path in left), default=0)
    last = work_dir / f'epoch_{EPOCHS}.pth'
    if full.hung or resumed.hung:
        return Outcome('hung', False)
    if partial:
        return Outcome('left a checkpoint that is not whole', False, ', '.join(path.name for path in partial))
    if newest < saved - 1:
        return Outcome('lost a finished checkpoint', False, f'{saved} epochs were saved, {newest} are left')
    if resumed.status:
        return Outcome('did not resume', False, resumed.last_line)
    if not last.exists() or not same_training(last, reference.checkpoint()):
        return Outcome('resumed to other weights', False)
    if full.status == 0:
        # Only the log did not fit, or checkpoints that were removed made room.
        complaint = 'No space left' in full.output
        return Outcome('trained on and said so' if complaint else 'there was room after all', True)
    line = full.refusal()
    if line is None:
        return Outcome('ended with a traceback', False, full.last_line)
    if str(work_dir) not in line:
        return Outcome('ended in one line that names no file', False, line)
    return Outcome('ended in one line that names the file, then resumed to the bit', True)
