"""Run the tools in forked processes that faults can be planted in: everything is imported once, so a run takes seconds."""

from __future__ import annotations

import functools
import io
import os
import resource
import runpy
import signal
import sys
import time
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple
from unittest import mock

import mmengine.config.utils
import mmpretrain  # noqa: F401  (imported once for all runs)
import torch
from mmengine.runner import Runner

import mixskd_mm  # noqa: F401
from mixskd_mm.checkpoints.safe_load import load_local_checkpoint

ROOT = Path(__file__).resolve().parents[2]
# Seconds and bytes that none of these runs needs unless something hangs or grows.
PATIENCE = 180
MEMORY = 4 << 30


class Result(NamedTuple):
    """How a run ended: its status (negative: the signal that ended it), all of its output, whether it hung."""

    status: int
    output: str
    hung: bool

    @property
    def last_line(self) -> str:
        return (self.output.strip().splitlines() or [''])[-1]

    @property
    def traceback(self) -> bool:
        return 'Traceback (most recent call last)' in self.output

    def refusal(self) -> str | None:
        """The line with which the run refused its input, or None if it ended in another way."""
        refused = self.status > 0 and self.last_line.startswith('error: ') and not self.traceback
        return self.last_line if refused else None


class Outcome(NamedTuple):
    """What a fault led to, whether that is what is promised, and what the run said."""

    name: str
    kept: bool
    note: str = ''


def run(
    tool: str, *args, prepare: Callable[[], None] | None = None, interrupt: tuple[float, int] | None = None
) -> Result:
    """Run ``tools/<tool>`` in a forked process, as a user would start it.

    Args:
        tool (str): The script's path in ``tools/``.
        args: Its arguments.
        prepare (Callable, optional): Called in the new process before the tool starts; plants the fault. Defaults to None.
        interrupt (tuple, optional): (seconds, signal) after which the process gets the signal. Defaults to None.
    """
    read, write = os.pipe()
    process = os.fork()
    if process == 0:
        os.close(read)
        _be_the_tool(tool, args, write, prepare)
    os.close(write)
    os.set_blocking(read, False)
    return _watch(process, read, interrupt)


def _be_the_tool(tool: str, args: tuple, output: int, prepare: Callable[[], None] | None) -> None:
    """The forked process: never returns."""
    status = 70
    try:
        os.setsid()
        os.dup2(output, 1)
        os.dup2(output, 2)
        sys.stdout, sys.stderr = (os.fdopen(handle, 'w', buffering=1, closefd=False) for handle in (1, 2))
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        signal.signal(signal.SIGINT, signal.default_int_handler)
        pages = int(Path('/proc/self/statm').read_text(encoding='utf-8').split()[0])
        limit = pages * resource.getpagesize() + MEMORY
        resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        torch.set_num_threads(1)
        sys.argv = [f'tools/{tool}', *map(str, args)]
        path = ROOT / 'tools' / tool
        sys.path[0] = str(path.parent)
        if prepare is not None:
            prepare()
        # Laying out the config for the log and reading mmpretrain's metafiles take longer than the training.
        read_once = functools.cache(mmengine.config.utils.load)
        with (
            mock.patch('yapf.yapflib.yapf_api.FormatCode', lambda text, **kwargs: (text, True)),
            mock.patch('mmengine.config.utils.load', read_once),
        ):
            runpy.run_path(str(path), run_name='__main__')
        status = 0
    except SystemExit as ending:
        status = ending.code if isinstance(ending.code, int) else int(ending.code is not None)
        if isinstance(ending.code, str):
            print(ending.code, file=sys.stderr)
    except KeyboardInterrupt:
        # As Python ends for it.
        traceback.print_exc()
        status = 128 + signal.SIGINT
    except BaseException:
        traceback.print_exc()
        status = 1
    finally:
        os._exit(status)


def _watch(process: int, read: int, interrupt: tuple[float, int] | None) -> Result:
    output, started, hung = [], time.monotonic(), False
    while True:
        ended, code = os.waitpid(process, os.WNOHANG)
        try:
            while part := os.read(read, 1 << 16):
                output.append(part)
        except BlockingIOError:
            pass
        if ended:
            break
        seconds = time.monotonic() - started
        if interrupt is not None and seconds >= interrupt[0]:
            os.kill(process, interrupt[1])
            interrupt = None
        if seconds >= PATIENCE:
            os.kill(process, signal.SIGKILL)
            hung = True
        time.sleep(0.01)
    os.close(read)
    return Result(os.waitstatus_to_exitcode(code), b''.join(output).decode(errors='replace'), hung)


def on_hook(name: str, count: int, act: Callable[[], None]) -> None:
    """In this process, call ``act`` when the Runner calls its hooks' method ``name`` for the ``count``-th time."""
    original, calls = Runner.call_hook, 0

    def call_hook(runner, fn_name: str, **kwargs):
        nonlocal calls
        calls += fn_name == name
        if fn_name == name and calls == count:
            act()
        return original(runner, fn_name, **kwargs)

    Runner.call_hook = call_hook


def on_rename(folder: Path, count: int, act: Callable[[], None]) -> None:
    """In this process, call ``act`` just before the ``count``-th file under ``folder`` is renamed or removed."""
    calls = 0

    def audit(event: str, args: tuple) -> None:
        nonlocal calls
        if event in ('os.rename', 'os.remove') and str(args[0]).startswith(str(folder)):
            calls += 1
            if calls == count:
                act()

    sys.addaudithook(audit)


def on_write(folder: Path, size: int, act: Callable[[], None], held: bool = False) -> None:
    """In this process, call ``act`` in the middle of the write under ``folder`` that exceeds ``size`` bytes.

    What fits is written first. Files that Python opens are covered; libraries that write in other ways are not seen.

    Args:
        folder (Path): The folder.
        size (int): Bytes written in all, or with ``held`` bytes that the files in it have together.
        act (Callable): Once called for the one, for each write that does not fit for the other.
        held (bool): Count what files hold, as a disk does, instead of what was written. Defaults to False.
    """
    original, written = io.open, 0

    class File(io.FileIO):
        def write(self, data) -> int:
            nonlocal written
            view = memoryview(data).cast('B')
            used = size_of(folder) if held else written
            written += len(view)
            if used + len(view) <= size or (used > size and not held):
                return super().write(view)
            fitting = max(size - used, 0)
            super().write(view[:fitting])
            act()
            return fitting + super().write(view[fitting:])

    def is_watched(file) -> bool:
        path = os.readlink(f'/proc/self/fd/{file}') if isinstance(file, int) else os.path.abspath(file)
        return os.fspath(path).startswith(str(folder))

    def open_watched(file, mode='r', buffering=-1, encoding=None, errors=None, newline=None, closefd=True, opener=None):
        if not set(mode) & set('wax+') or not is_watched(file):
            return original(file, mode, buffering, encoding, errors, newline, closefd, opener)
        raw = File(file, mode.replace('b', '').replace('t', ''), closefd, opener)
        buffered = io.BufferedRandom(raw) if '+' in mode else io.BufferedWriter(raw)
        if 'b' in mode:
            return buffered
        text = io.TextIOWrapper(buffered, encoding, errors, newline, line_buffering=buffering == 1)
        text.mode = mode
        return text

    # Each module has its own name for it.
    for module in ('builtins.open', 'io.open'):
        mock.patch(module, open_watched).start()


def size_of(folder: Path) -> int:
    """Bytes of all files under a folder."""
    return sum(path.stat().st_size for path in folder.rglob('*') if path.is_file())


def loads(path: Path) -> bool:
    try:
        load_local_checkpoint(str(path))
    except Exception:
        return False
    return True


def same_state(one, other) -> bool:
    """Whether two nested states are equal to the bit."""
    if isinstance(one, torch.Tensor):
        return isinstance(other, torch.Tensor) and one.shape == other.shape and one.equal(other)
    if isinstance(one, dict):
        return list(one) == list(other) and all(same_state(one[key], other[key]) for key in one)
    if isinstance(one, list | tuple):
        return len(one) == len(other) and all(map(same_state, one, other))
    return one == other


def same_training(one: Path, other: Path) -> bool:
    """Whether two checkpoints hold the same weights, optimiser and schedule, to the bit."""
    first, second = (load_local_checkpoint(str(path)) for path in (one, other))
    return all(same_state(first[part], second[part]) for part in ('state_dict', 'optimizer', 'param_schedulers'))
