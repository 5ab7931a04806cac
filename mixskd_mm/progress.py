"""What a terminal shows while something takes long, and what a file or pipe gets instead: a line now and then."""

from __future__ import annotations

import re
import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import TypeVar

T = TypeVar('T')
# Seconds between two lines where there is no terminal.
INTERVAL = 20
# As mmengine's LogProcessor writes it.
TRAINING_LINE = re.compile(
    r'(?:Epoch|Iter)\(train\)\s+(?:\[ *(\d+)\])?\[ *(\d+/ *\d+)\].*?eta: ((?:\d+ days?, )?[\d:]+)\s+time: ([\d.]+)'
)


def track(items: Iterable[T], description: str, total: int | None = None) -> Iterator[T]:
    """``items``, with a bar, their rate and the remaining time on standard error; plain lines if it is no terminal.

    Args:
        items (Iterable): What to go through.
        description (str): Before the bar.
        total (int, optional): Their number. Defaults to None: ``len(items)``.
    """
    total = len(items) if total is None else total
    if sys.stderr.isatty():
        yield from bar(items, description, total)
        return
    begun = said = time.monotonic()
    for done, item in enumerate(items, start=1):
        yield item
        now = time.monotonic()
        if now - said >= INTERVAL or done == total:
            said, rate = now, done / max(now - begun, 1e-9)
            print(
                f'{description}: {done}/{total}, {rate:.3g}/s, {duration((total - done) / rate)} left', file=sys.stderr
            )


def bar(items: Iterable[T], description: str, total: int) -> Iterator[T]:
    """rich's bar with a rate."""
    from rich import progress
    from rich.console import Console

    columns = (
        progress.TextColumn('{task.description}', markup=False),
        progress.BarColumn(),
        progress.MofNCompleteColumn(),
        progress.TextColumn('{task.fields[rate]}'),
        progress.TimeRemainingColumn(),
    )
    with progress.Progress(*columns, console=Console(stderr=True)) as shown:
        task, begun = shown.add_task(description, total=total, rate=''), time.monotonic()
        for done, item in enumerate(items, start=1):
            yield item
            shown.update(task, advance=1, rate=f'{done / max(time.monotonic() - begun, 1e-9):.3g}/s')


def duration(seconds: float) -> str:
    """E.g. ``45 s``, ``12 min`` or ``3 h 20 min``."""
    if seconds < 100:
        return f'{seconds:.0f} s'
    minutes = round(seconds / 60)
    return f'{minutes} min' if minutes < 100 else f'{minutes // 60} h {minutes % 60:02d} min'


def training_state(log: Path) -> str:
    """Where a training is, from the end of its log: ``epoch 12, 390/390, 0.21 s/iteration, 0:50:12 left``; '' if unknown."""
    try:
        with log.open('rb') as file:
            file.seek(max(0, log.stat().st_size - 20_000))
            text = file.read().decode(errors='replace')
    except OSError:
        return ''
    found = TRAINING_LINE.findall(text)
    if not found:
        return ''
    epoch, iteration, eta, seconds = found[-1]
    where = f'epoch {epoch}, ' if epoch else ''
    return f'{where}{iteration.replace(" ", "")}, {float(seconds):.2g} s/iteration, {eta} left'


class Watch:
    """While its block runs: says ``state()`` every ``interval`` seconds, on one line of a terminal, else on new ones.

    Args:
        state (Callable): Returns what to say; nothing is said of '' or of what was said before.
        interval (float, optional): Seconds. Defaults to None: 1 on a terminal, else :data:`INTERVAL`.
    """

    def __init__(self, state: Callable[[], str], interval: float | None = None) -> None:
        self._state, self._end = state, threading.Event()
        self._terminal = sys.stdout.isatty()
        self._interval = interval or (1 if self._terminal else INTERVAL)
        self._lock, self._thread = threading.Lock(), threading.Thread(target=self._run, daemon=True)

    def _run(self) -> None:
        said = ''
        while not self._end.wait(self._interval):
            text = self._state()
            if text and text != said:
                said = text
                with self._lock:
                    print(f'\r\033[K{text}' if self._terminal else text, end='' if self._terminal else '\n', flush=True)

    def say(self, line: str) -> None:
        """A line that stays."""
        with self._lock:
            print(f'\r\033[K{line}' if self._terminal else line, flush=True)

    def __enter__(self) -> Watch:
        self._thread.start()
        return self

    def __exit__(self, *_) -> None:
        self._end.set()
        self._thread.join()
        if self._terminal:
            print('\r\033[K', end='', flush=True)
