"""The set-up script, with a stand-in for Python and pip that only notes what it was asked to do."""

import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest
from tiny import PATIENCE

ROOT = Path(__file__).resolve().parents[1]
INPUTS = (
    'requirements/forks.txt',
    'requirements/original.txt',
    'setup.py',
    'mixskd_mm/compat.py',
    'tools/setup_env.sh',
)
STAND_IN = """#!{real} -IS
import os, shutil, sys, time, zipfile
from pathlib import Path

work = Path(os.environ['STAND_IN'])
arguments = sys.argv[1:]
if arguments[:2] == ['-m', 'venv']:
    folder = Path(arguments[2]).absolute() / 'bin'
    folder.mkdir()
    shutil.copy(__file__, folder / 'python')
    (folder / 'pip').write_text(f'#!{{folder}}/python')
elif arguments[:3] == ['-m', 'pip', '--version']:
    pass
elif arguments[:2] == ['-m', 'pip']:
    with open(work / 'calls', 'a') as calls:
        print(*arguments[2:], file=calls)
    if (work / 'slow').exists():
        (work / 'pid').write_text(str(os.getpid()))
        time.sleep(3600)
    if (work / 'fail').exists() and (work / 'fail').read_text() in arguments:
        sys.exit('the reason in the log')
    if arguments[2] == 'wheel':
        target = Path(arguments[arguments.index('-w') + 1])
        with zipfile.ZipFile(target / 'onedl_mmcv-0-py3-none-any.whl', 'w') as wheel:
            wheel.writestr('mmcv/ops.py' if (work / 'no_operators').exists() else 'mmcv/_ext.so', '')
elif arguments[:1] == ['-c'] and 'version_info[:2])' in arguments[1]:
    # Of the forks' set, whichever runs the tests.
    print('3.11')
elif arguments == ['-']:
    print('cpu')
elif 'CDLL' in arguments[1]:
    if (work / 'stale').exists():
        (work / 'stale').unlink()
        sys.exit('undefined symbol')
elif 'mmcv.ops' not in arguments[1]:
    os.execv('{real}', ['{real}', *arguments])
"""


class Machine:
    def __init__(self, folder):
        self.tree, self.work, self.cache = folder / 'tree', folder / 'work', folder / 'cache'
        self.work.mkdir(parents=True)
        for name in INPUTS:
            (self.tree / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, self.tree / name)
        self.python = self.work / 'python3'
        self.python.write_text(STAND_IN.format(real=sys.executable))
        self.python.chmod(0o755)

    def start(self, **environment):
        settings = {'PYTHON': str(self.python), 'STAND_IN': str(self.work), 'XDG_CACHE_HOME': str(self.cache)}
        # Not what `make test STACK=...` exports.
        settings['STACK'] = 'forks'
        return subprocess.Popen(
            ['bash', self.tree / 'tools' / 'setup_env.sh'],
            env={**os.environ, **settings, **environment},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def set_up(self, **environment):
        process = self.start(**environment)
        out, err = process.communicate()
        return subprocess.CompletedProcess(process.args, process.returncode, out, err)

    def calls(self):
        """What pip was asked since the last time."""
        file = self.work / 'calls'
        lines = file.read_text().splitlines() if file.exists() else []
        file.unlink(missing_ok=True)
        return lines

    def wheels(self):
        return [path.relative_to(self.cache).as_posix() for path in self.cache.rglob('*') if path.is_file()]


@pytest.fixture
def machine(tmp_path):
    return Machine(tmp_path)


def test_sets_up_once_and_in_order(machine):
    run = machine.set_up()
    assert run.returncode == 0, run.stderr
    steps = [line[:5] for line in run.stdout.splitlines() if line.startswith('[')]
    assert steps == ['[1/5]', '[2/5]', '[3/5]', '[4/5]', '[5/5]']
    torch, compiled, mmcv, rest, package = machine.calls()
    assert ' torch torchvision ' in torch
    assert '--no-build-isolation' in compiled and '--no-deps' in compiled and '--no-cache-dir' in compiled
    assert mmcv.endswith('.whl')
    assert rest.endswith('-r requirements/forks.txt')
    assert package.endswith('-e .[export,dev]')
    (wheel,) = machine.wheels()
    assert wheel.startswith('mixskd_mm/wheels/mmcv-2.3.6-torch-2.11.0-cp3')

    again = machine.set_up()
    assert (again.returncode, again.stdout, again.stderr, machine.calls()) == (0, '', '', [])


def test_another_set_has_an_environment_of_its_own(machine):
    machine.set_up()
    forks = (machine.tree / '.venv' / 'ready').read_text()
    machine.calls()
    run = machine.set_up(STACK='original')
    assert run.returncode == 0, run.stderr
    _, compiled, _, rest, _ = machine.calls()
    assert compiled.endswith('mmcv==2.1.0') and ' --no-binary mmcv ' in compiled
    assert rest.endswith('-r requirements/original.txt')
    assert str(machine.tree / '.venv-original') in (machine.tree / '.venv-original' / 'bin' / 'pip').read_text()
    assert (machine.tree / '.venv' / 'ready').read_text() == forks
    assert [name for name in machine.wheels() if name.startswith('mixskd_mm/wheels/mmcv-2.1.0-torch-2.4.1-cp3')]


def test_sets_up_again_when_the_pins_change_without_compiling(machine):
    machine.set_up()
    machine.calls()
    with open(machine.tree / 'requirements' / 'forks.txt', 'a') as pins:
        pins.write('einops==0.8.2\n')
    assert machine.set_up().returncode == 0
    assert [call.split()[0] for call in machine.calls()] == ['install'] * 4


def test_compiles_again_when_the_cached_operators_do_not_load(machine):
    machine.set_up()
    machine.calls()
    (machine.tree / '.venv' / 'ready').unlink()
    (machine.work / 'stale').touch()
    assert machine.set_up().returncode == 0
    assert 'wheel' in [call.split()[0] for call in machine.calls()]
    assert len(machine.wheels()) == 1


@pytest.mark.parametrize('step', ['torch', 'wheel', '-e'])
def test_a_failed_step_ends_in_one_line_and_can_be_tried_again(machine, step):
    (machine.work / 'fail').write_text(step)
    run = machine.set_up()
    assert run.returncode == 1
    *log, last = run.stderr.splitlines()
    assert 'the reason in the log' in log
    assert last.startswith('set-up failed: [')
    assert '.venv/setup.log' in last
    assert not (machine.tree / '.venv' / 'ready').exists()

    (machine.work / 'fail').unlink()
    assert machine.set_up().returncode == 0


def test_an_interrupt_ends_what_was_started_and_can_be_continued(machine):
    (machine.work / 'slow').touch()
    process = machine.start()
    deadline = time.monotonic() + PATIENCE
    pid = machine.work / 'pid'
    while process.poll() is None and not (pid.exists() and pid.read_text()) and time.monotonic() < deadline:
        time.sleep(0.05)
    process.terminate()
    _, err = process.communicate(timeout=PATIENCE)
    assert (process.returncode, err) == (130, 'set-up interrupted; the same command continues it\n')
    assert not psutil.pid_exists(int(pid.read_text())) or psutil.Process(int(pid.read_text())).status() == 'zombie'

    (machine.work / 'slow').unlink()
    assert machine.set_up().returncode == 0


def test_a_wheel_without_operators_is_not_kept(machine):
    (machine.work / 'no_operators').touch()
    run = machine.set_up()
    assert run.returncode == 1
    assert 'the wheel has no compiled operators' in run.stderr
    assert machine.wheels() == []


def test_an_environment_of_another_folder_is_made_anew(machine, tmp_path):
    machine.set_up()
    machine.tree.rename(tmp_path / 'moved')
    machine.tree = tmp_path / 'moved'
    assert machine.set_up().returncode == 0
    assert str(machine.tree) in (machine.tree / '.venv' / 'bin' / 'pip').read_text()


def test_a_half_installed_package_is_forgotten(machine):
    machine.set_up()
    packages = machine.tree / '.venv' / 'lib' / 'python3.11' / 'site-packages'
    (packages / 'whole-1.dist-info').mkdir(parents=True)
    (packages / 'whole-1.dist-info' / 'INSTALLER').touch()
    (packages / 'half-1.dist-info').mkdir()
    (machine.tree / '.venv' / 'ready').unlink()
    machine.set_up()
    assert [path.name for path in packages.iterdir()] == ['whole-1.dist-info']


@pytest.mark.parametrize(
    ('environment', 'line'),
    [
        ({'PYTHON': 'no-such-python'}, 'no-such-python not found; install Python 3.11 or 3.12'),
        ({'STACK': 'newest'}, 'STACK=newest: expected one of forks original'),
        ({'CXX': 'no-such-compiler'}, 'no C++ compiler (no-such-compiler) found'),
        ({'CXX': 'false'}, "false cannot compile against Python's headers"),
    ],
)
def test_what_is_missing_is_named_in_one_line(machine, environment, line):
    run = machine.set_up(**environment)
    assert run.returncode == 1
    assert run.stdout == ''
    (message,) = run.stderr.splitlines()
    assert message.startswith(f'set-up failed: {line}')


@pytest.mark.parametrize(
    ('answer', 'line'),
    [
        ('echo 3.10', 'is Python 3.10, needed is 3.11 or 3.12'),
        ('case "$*" in *ensurepip*) exit 1;; *) echo 3.12;; esac', 'has no venv module'),
        ('exit 1', 'does not run'),
    ],
)
def test_a_python_that_cannot_be_used_is_refused_in_one_line(machine, answer, line):
    machine.python.write_text(f'#!/bin/sh\n{answer}\n')
    run = machine.set_up()
    assert run.returncode == 1
    (message,) = run.stderr.splitlines()
    assert message.startswith(f'set-up failed: {machine.python} {line}')
    assert not (machine.tree / '.venv').exists()
