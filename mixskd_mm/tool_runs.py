"""Run the tools one after another, as the quickstart and the reproduction of the tables do."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

from mixskd_mm.errors import InputError


def run_tool(
    log: Path, program: str, *arguments: object, cwd: Path | None = None, env: Mapping[str, str] | None = None
) -> None:
    """Run a command with all its output appended to ``log``.

    Args:
        log (Path): File for the output; its folder is made.
        program (str): ``python``, which means this interpreter, or another program.
        arguments: Its arguments.
        cwd (Path, optional): Where it starts. Defaults to None: here.
        env (Mapping, optional): More environment variables. Defaults to None.

    Raises:
        InputError: with the last line of the log, if the command fails.
    """
    log.parent.mkdir(parents=True, exist_ok=True)
    command = [sys.executable if program == 'python' else program, *map(str, arguments)]
    # Scripts that call `python` get this one.
    path = os.pathsep.join((os.path.dirname(sys.executable), os.environ.get('PATH', '')))
    env = dict(os.environ, PATH=path, **env or {})
    with log.open('a') as file:
        process = subprocess.Popen(command, stdout=file, stderr=subprocess.STDOUT, cwd=cwd, env=env)
        try:
            process.wait()
        finally:
            stop(process)
    if process.returncode:
        lines = log.read_text(errors='replace').strip().splitlines()
        reason = lines[-1].removeprefix('error: ') if lines else f'status {process.returncode}'
        raise InputError(f'{reason} (from `{" ".join(command)}`, whose output is in {log})')


def stop(process: subprocess.Popen, patience: float = 30) -> None:
    """End ``process`` if it still runs; torchrun gets ``patience`` seconds to end its workers, which are not ours."""
    if process.poll() is None:
        process.terminate()
        try:
            process.wait(patience)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def last_checkpoint(folder: Path) -> str:
    """Path of the last checkpoint in a work directory."""
    return (folder / 'last_checkpoint').read_text(encoding='utf-8').strip()
