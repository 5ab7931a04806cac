#!/usr/bin/env python
"""Try random faults on tiny trainings and count what they lead to: kills, full disks, damaged files, changed settings.

Prints a Markdown table of counts and, for each promise that was not kept, the command that repeats it. Needs Linux. Ends
with status 1 if code from a file was run or something wrong was accepted silently.
"""

from __future__ import annotations

import argparse
import contextlib
import multiprocessing
import os
import random
import shutil
import sys
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from pathlib import Path
from typing import NamedTuple

# Before torch is imported. The runs share the cores among them.
os.environ.update(OMP_NUM_THREADS='1', OMP_WAIT_POLICY='PASSIVE', CUDA_VISIBLE_DEVICES='')

KINDS = ('kills', 'disk-full', 'damaged', 'settings')


class Trial(NamedTuple):
    """One fault: its kind and number, what was done, and what it led to."""

    kind: str
    number: int
    fault: str
    outcome: tuple


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    for kind in KINDS:
        parser.add_argument(f'--{kind}', type=int, default=0, metavar='N', help=f'number of trials of {kind}')
    parser.add_argument('--seed', type=int, default=0, help='chooses the faults (default: 0)')
    parser.add_argument(
        '--only', nargs=2, metavar=('KIND', 'NUMBER'), help='one trial again, with what it leaves in --folder'
    )
    parser.add_argument('--jobs', type=int, default=2, help='trials at the same time (default: 2)')
    parser.add_argument(
        '--folder', type=Path, help='new folder to run in (default: a temporary one, removed at the end)'
    )
    parser.add_argument('--out', type=Path, metavar='FILE', help='also write the table to this file')
    args = parser.parse_args()
    if args.only and (args.only[0] not in KINDS or not args.only[1].isdigit()):
        parser.error(f'--only {" ".join(args.only)}: expected one of {", ".join(KINDS)} and a number')
    if args.folder and args.folder.exists():
        parser.error(f'--folder {args.folder}: expected a new folder')
    return args


def trial_functions() -> dict[str, Callable]:
    """Kind of fault to the function that tries one."""
    # Not for --help: they import the libraries.
    import damaged
    import disk_full
    import kills
    import wrong_settings

    return dict(zip(KINDS, (kills.trial, disk_full.trial, damaged.trial, wrong_settings.trial), strict=True))


def attempt(seed: int, folder: Path, references: dict, keep: bool, which: tuple[str, int]) -> Trial:
    """Try one fault; the seed, the kind and the number choose it."""
    kind, number = which
    place = folder / f'{kind}-{number}'
    place.mkdir(parents=True)
    fault, outcome = trial_functions()[kind](random.Random(f'{seed} {kind} {number}'), place, references)
    if not keep:
        shutil.rmtree(place)
    return Trial(kind, number, fault, outcome)


def attempt_all(args: argparse.Namespace, folder: Path) -> Iterator[Trial]:
    """Try all faults that were asked for, some at a time."""
    sys.path.insert(0, str(Path(__file__).parent))
    from recipe import RECIPES, Reference

    trial_functions()
    references = {recipe: Reference(folder / recipe, recipe) for recipe in RECIPES}
    if args.only:
        which = [(args.only[0], int(args.only[1]))]
    else:
        which = [(kind, i) for kind in KINDS for i in range(getattr(args, kind.replace('-', '_')))]
    function = partial(attempt, args.seed, folder, references, bool(args.only))
    # Forked, with everything imported.
    with ProcessPoolExecutor(args.jobs, mp_context=multiprocessing.get_context('fork')) as pool:
        yield from pool.map(function, which)


def report(trials: list[Trial], seed: int) -> str:
    """The table of counts, and what repeats each trial whose promise was not kept."""
    counts = Counter((trial.kind, trial.outcome.name, trial.outcome.kept) for trial in trials)
    lines = ['| Faults | Outcome | Trials | As promised |', '|---|---|---:|---|']
    for (kind, name, kept), count in sorted(counts.items(), key=lambda row: (KINDS.index(row[0][0]), -row[1])):
        lines.append(f'| {kind} | {name} | {count} | {"yes" if kept else "**no**"} |')
    broken = [trial for trial in trials if not trial.outcome.kept]
    lines += ['', f'{len(trials)} trials, {len(broken)} not as promised.']
    for trial in broken:
        lines += [
            '',
            f'- {trial.fault}: {trial.outcome.name}{": " + trial.outcome.note[:300] if trial.outcome.note else ""}',
            f'  `python tools/soak/run.py --seed {seed} --only {trial.kind} {trial.number} --folder soak`',
        ]
    return '\n'.join(lines) + '\n'


def main() -> None:
    args = parse_args()
    with contextlib.ExitStack() as stack:
        folder = args.folder or Path(stack.enter_context(tempfile.TemporaryDirectory(prefix='mixskd_soak_')))
        trials = []
        for trial in attempt_all(args, folder.resolve()):
            trials.append(trial)
            print(f'{trial.kind} {trial.number}: {trial.fault}: {trial.outcome.name}', file=sys.stderr, flush=True)
    text = report(trials, args.seed)
    print(text, end='')
    if args.out:
        args.out.write_text(text)
    sys.exit(int(any(trial.outcome.name in ('accepted silently', 'ran code') for trial in trials)))


if __name__ == '__main__':
    main()
