"""Full disks: the work directory has no room for a random number of bytes; then it has, and the run is resumed."""

from __future__ import annotations

import errno
import os
import random
from pathlib import Path

from kills import newest_whole, not_continued
from recipe import Reference
from sandbox import Outcome, Result, loads, on_write, size_of


def trial(rng: random.Random, folder: Path, references: dict[str, Reference]) -> tuple[str, Outcome]:
    """One full disk: what was done, and what it led to."""
    reference, work_dir = references['classification'], folder / 'run'
    work_dir.mkdir()
    kept = rng.choice((1, 2, -1))
    keep = f'default_hooks.checkpoint.max_keep_ckpts={kept}'
    # A quarter of them in the first files, before there is a checkpoint, or in the log.
    logs = size_of(reference.work_dir) - len(reference.names) * reference.last.stat().st_size
    room = rng.randrange(logs) if rng.random() < 0.25 else rng.randrange(size_of(reference.work_dir))
    full = reference.train(work_dir, options=[keep], prepare=lambda: on_write(work_dir, room, fail, held=True))
    left = newest_whole(work_dir, reference.names)
    partial = [path.name for path in work_dir.glob('*.pth') if not loads(path)]
    resumed = reference.train(work_dir, '--resume', options=[keep])
    return f'room for {room} bytes, max_keep_ckpts={kept}', judge(full, left, partial, resumed, work_dir, reference)


def fail() -> None:
    """What a write to a full disk does."""
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def judge(
    full: Result, left: int, partial: list[str], resumed: Result, work_dir: Path, reference: Reference
) -> Outcome:
    """What came of a run whose disk was full, and of resuming it; ``left`` as in :func:`kills.judge`."""
    broken = not_continued(full, left, resumed, work_dir, reference)
    if partial and (broken is None or broken.name != 'hung'):
        return Outcome('left a checkpoint that is not whole', False, ', '.join(partial))
    if broken is not None:
        return broken
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
