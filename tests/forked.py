"""Scripts in forked processes: as ``python SCRIPT``, without the ten seconds that importing the libraries takes."""

from __future__ import annotations

import os
import runpy
import signal
import subprocess
import sys
import tempfile
import time
import traceback
from pathlib import Path

import tiny
import torch
from mmengine.logging import MessageHub, MMLogger
from mmengine.registry import DefaultScope
from mmengine.visualization import Visualizer

_popen = subprocess.Popen


class Forked:
    """What ``subprocess.Popen([sys.executable, SCRIPT, ...])`` is, as far as the tests and the package use it.

    What the script itself starts with ``subprocess.Popen`` is forked too, if it is a Python script.
    """

    def __init__(self, command: list, *, cwd=None, env=None, stdout, stderr=subprocess.STDOUT, start_new_session=False):
        self.args = list(map(str, command))
        self.returncode = None
        self.pid = os.fork()
        if self.pid:
            return
        status = 1
        try:
            if start_new_session:
                os.setsid()
            status = self._run(cwd, env, stdout, stdout if stderr == subprocess.STDOUT else stderr)
        except BaseException:
            traceback.print_exc()
        finally:
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(status)

    def _run(self, cwd, env, stdout, stderr) -> int:
        """All that the forked process does; its exit status."""
        signal.signal(signal.SIGINT, signal.default_int_handler)
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        for file, descriptor, name in ((stdout, 1, 'stdout'), (stderr, 2, 'stderr')):
            os.dup2(file.fileno(), descriptor)
            stream = os.fdopen(descriptor, 'w', buffering=1, closefd=False)
            setattr(sys, name, stream)
            setattr(sys, f'__{name}__', stream)
        if cwd is not None:
            os.chdir(cwd)
        if env is not None:
            os.environ.clear()
            os.environ.update(env)
        sys.argv = self.args[1:]
        sys.path[:0] = [os.path.dirname(sys.argv[0]), *os.environ.get('PYTHONPATH', '').split(os.pathsep)]
        torch.set_num_threads(1)
        # What earlier runs left in the process that was forked.
        for kept in (MessageHub, MMLogger, Visualizer, DefaultScope):
            kept._instance_dict.clear()
        subprocess.Popen = start
        try:
            runpy.run_path(sys.argv[0], run_name='__main__')
        except SystemExit as error:
            if not isinstance(error.code, int | None):
                print(error.code, file=sys.stderr)
                return 1
            return error.code or 0
        return 0

    def poll(self) -> int | None:
        if self.returncode is None:
            pid, status = os.waitpid(self.pid, os.WNOHANG)
            if pid:
                self.returncode = os.waitstatus_to_exitcode(status)
        return self.returncode

    def wait(self, timeout: float | None = None) -> int:
        deadline = time.monotonic() + (tiny.PATIENCE if timeout is None else timeout)
        while self.poll() is None:
            if time.monotonic() > deadline:
                raise subprocess.TimeoutExpired(self.args, timeout)
            time.sleep(0.02)
        return self.returncode

    def terminate(self) -> None:
        if self.poll() is None:
            os.kill(self.pid, signal.SIGTERM)

    def kill(self) -> None:
        if self.poll() is None:
            os.kill(self.pid, signal.SIGKILL)


def start(command: list, **kwargs) -> Forked | subprocess.Popen:
    """Fork for a Python script, and start any other program."""
    python = command[0] == sys.executable and str(command[1]).endswith('.py')
    return (Forked if python else _popen)(command, **kwargs)


def run_tool(tool: str | Path, *args, cwd: Path, env: dict | None = None) -> subprocess.CompletedProcess:
    """:func:`tiny.run_tool` in a forked process."""
    command = [sys.executable, tiny.ROOT / 'tools' / tool, *args]
    with tempfile.TemporaryFile('w+') as stdout, tempfile.TemporaryFile('w+') as stderr:
        process = Forked(command, cwd=cwd, env=env or tiny.environment(), stdout=stdout, stderr=stderr)
        try:
            status = process.wait()
        finally:
            process.kill()
        for file in (stdout, stderr):
            file.seek(0)
        return subprocess.CompletedProcess(process.args, status, stdout.read(), stderr.read())


def succeed(tool: str | Path, *args, cwd: Path, env: dict | None = None) -> subprocess.CompletedProcess:
    """:func:`run_tool`, which has to end with status 0."""
    result = run_tool(tool, *args, cwd=cwd, env=env)
    assert result.returncode == 0, result.stdout[-2000:] + result.stderr[-4000:]
    return result
