"""Runs of the tools that a probe watches and that may be killed."""

import contextlib
import json
import os
import signal
import subprocess
import time
from pathlib import Path

import forked
import psutil
import tiny

HERE = Path(__file__).parent


def probed(folder: Path, **variables: str) -> dict[str, str]:
    """Environment of a run with ``default_hooks.probe.type=probe.Probe``, which writes into ``folder``."""
    env = tiny.environment(PROBE=str(folder), **variables)
    env['PYTHONPATH'] = os.pathsep.join((str(HERE), env['PYTHONPATH']))
    return env


def rows(folder: Path, rank: int = 0) -> list[dict]:
    """What the probe wrote."""
    return [json.loads(line) for line in (folder / f'rank{rank}.jsonl').read_text().splitlines()]


def iterations(folder: Path, rank: int = 0) -> list[dict]:
    return [row for row in rows(folder, rank) if 'lam' in row]


def kill_when_paused(command: list, cwd: Path, env: dict, ranks: int = 1) -> None:
    """Start a run with PAUSE set, and kill it and all of its processes with SIGKILL once each rank has stopped."""
    folder = Path(env['PROBE'])
    with (folder.parent / f'{folder.name}.log').open('w') as log:
        start = forked.start if ranks == 1 else subprocess.Popen
        run = start(list(map(str, command)), cwd=cwd, env=env, stdout=log, stderr=subprocess.STDOUT)
        workers = []
        try:
            deadline = time.monotonic() + tiny.PATIENCE
            while not all((folder / f'paused{rank}').exists() for rank in range(ranks)):
                assert run.poll() is None, f'the run ended before it paused: {log.name}'
                assert time.monotonic() < deadline, f'the run did not pause: {log.name}'
                time.sleep(0.1)
        finally:
            # torchrun's workers are in sessions of their own. It first: it would end them in its own way.
            with contextlib.suppress(psutil.NoSuchProcess):
                workers = psutil.Process(run.pid).children(recursive=True)
            run.kill()
            for process in workers:
                with contextlib.suppress(psutil.NoSuchProcess):
                    process.kill()
            run.wait()
    assert run.returncode == -signal.SIGKILL


class Run:
    """A finished training: its folder, what the probe saw, its last checkpoint and its output."""

    def __init__(self, work_dir: Path, probe: Path, epoch: int, output: subprocess.CompletedProcess):
        self.work_dir, self.probe, self.output = work_dir, probe, output
        self.checkpoint = work_dir / f'epoch_{epoch}.pth'

    def state(self) -> dict:
        return tiny.load(self.checkpoint)
