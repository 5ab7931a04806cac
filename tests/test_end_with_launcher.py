"""A worker does not outlive its launcher, even if that is killed."""

import os
import signal
import subprocess
import sys
import time

import psutil
import pytest
import tiny

LAUNCHER = """
import subprocess, sys
worker = subprocess.Popen([sys.executable, '-c', '''
import time
from mixskd_mm.cli import end_with_launcher
end_with_launcher()
print('ready', flush=True)
time.sleep(600)
'''])
print(worker.pid, flush=True)
worker.wait()
"""


@pytest.mark.skipif(sys.platform != 'linux', reason='only Linux tells a process of the end of its parent')
def test_a_killed_launcher_takes_its_worker_along():
    env = tiny.environment(LOCAL_WORLD_SIZE='1')
    launcher = subprocess.Popen([sys.executable, '-c', LAUNCHER], env=env, stdout=subprocess.PIPE, text=True)
    worker = psutil.Process(int(launcher.stdout.readline()))
    assert any(line.strip() == 'ready' for line in iter(launcher.stdout.readline, ''))
    os.kill(launcher.pid, signal.SIGKILL)
    launcher.wait()
    deadline = time.monotonic() + tiny.PATIENCE
    # Until whoever adopts it looks at it, it is a zombie.
    while worker.is_running() and worker.status() != psutil.STATUS_ZOMBIE:
        assert time.monotonic() < deadline
        time.sleep(0.05)
