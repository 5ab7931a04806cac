"""tools/reproduce.py as a user runs it, on digits that stand in for CIFAR-100."""

from __future__ import annotations

import json
import os
import shlex
import signal
import subprocess
import sys
import time
from pathlib import Path

import forked
import pytest
import tiny

TOOL = tiny.ROOT / 'tools' / 'reproduce.py'
NETWORK = ['model.backbone.base_channels=8', 'model.backbone.stem_channels=8', 'model.head.in_channels=64']
OPTIONS = [
    *NETWORK,
    "custom_imports.imports=['mixskd_mm','digits_as_cifar100']",
    'train_dataloader.batch_size=10',
    'train_dataloader.num_workers=0',
    'test_dataloader.num_workers=0',
    'optim_wrapper.optimizer.lr=0.02',
    'default_hooks.checkpoint.interval=1',
    'default_hooks.pause.type=probe.Pause',
]


@pytest.fixture
def env():
    env = tiny.environment()
    env['PYTHONPATH'] = os.pathsep.join([str(Path(__file__).parent), env['PYTHONPATH']])
    return env


def arguments(work_dir, *more):
    """6 of 205 epochs of two rows, one seed."""
    rows = ['--rows', 'baseline', 'mixskd', '--nets', 'r18', '--seeds', '1', '--budget', '0.03']
    return ['table1', *rows, '--work-dir', str(work_dir), *more, '--cfg-options', *OPTIONS]


def wait_for(path, process):
    end = time.monotonic() + tiny.PATIENCE
    while not path.exists():
        assert process.poll() is None and time.monotonic() < end, path
        time.sleep(0.02)


def test_two_rows_of_table_1_with_a_kill_and_a_resume(tmp_path, env):
    runs = tmp_path / 'runs'
    baseline, mixskd = (runs / f'{method}_r18_cifar100-0.03-epochs-1of1' / 'seed0' for method in ('baseline', 'mixskd'))

    # A task of the array: one run, no table.
    first = tiny.succeed('reproduce.py', *arguments(runs, '--task', '0'), cwd=tmp_path, env=env)
    assert (baseline / 'result.json').is_file() and not list(runs.glob('*.md'))
    assert 'Baseline, ResNet-18, seed 0' in first.stdout
    made = (baseline / 'result.json').stat().st_mtime_ns

    command = [sys.executable, str(TOOL), *arguments(runs)]
    with (tmp_path / 'killed.log').open('w') as log:
        paused = dict(env, PROBE=str(tmp_path), PAUSE='2,0')
        process = forked.start(command, cwd=tmp_path, env=paused, stdout=log, start_new_session=True)
        # In the third epoch of the second one.
        try:
            wait_for(tmp_path / 'paused0', process)
        finally:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
    assert (mixskd / 'epoch_2.pth').exists() and not (mixskd / 'result.json').exists()

    forked.succeed('reproduce.py', *arguments(runs, '--report'), cwd=tmp_path, env=env)
    assert '1 of 2 runs are done' in (runs / 'table1.md').read_text()

    second = forked.succeed('reproduce.py', *arguments(runs), cwd=tmp_path, env=env).stdout
    assert 'Baseline, ResNet-18, seed 0 (done before)' in second
    assert (baseline / 'result.json').stat().st_mtime_ns == made
    assert 'resumed epoch' in (mixskd / 'train.log').read_text()
    assert (mixskd / 'epoch_6.pth').is_file()

    # The table has what the runs' own tests measured.
    text = (runs / 'table1.md').read_text()
    assert text.startswith('# Table 1: top-1 accuracy (%) on CIFAR-100, scaled down to 3 % of the epochs\n')
    for name, paper, folder in [('Baseline', 76.24, baseline), ('MixSKD', 80.32, mixskd)]:
        top1 = json.loads((folder / 'test.json').read_text())['accuracy/top1']
        line = next(line for line in text.splitlines() if line.startswith(f'| {name} |'))
        assert line.split(' | ')[1] == f'{top1:.2f}'
        assert line.split(' | ')[3] == f'{top1 - paper:+.2f}'
        assert f'{top1:.2f} (seed 0)' in line
    assert '\n| Mixup |' not in text
    assert 'reproduce.py table1 --rows baseline mixskd' in text and '2 of 2 runs are done' in text
    assert (runs / 'table1.png').stat().st_size > 10_000

    # Table 5, left, attacks the same network, which is not trained again.
    trained = (baseline / 'epoch_6.pth').stat().st_mtime_ns
    attack = ['table5-fgsm', *arguments(runs)[1:]]
    del attack[attack.index('mixskd')]
    forked.succeed('reproduce.py', *attack, cwd=tmp_path, env=env)
    assert (baseline / 'epoch_6.pth').stat().st_mtime_ns == trained
    (attacked,) = json.loads((baseline / 'fgsm' / 'fgsm.json').read_text())['models'].values()
    text = (runs / 'table5-fgsm.md').read_text()
    for eps, top1 in zip(('0.0001', '0.001', '0.01', '0.1'), attacked['top1'], strict=True):
        assert f'## ResNet-18, eps = {eps}\n\n| method' in text and f'| Baseline | {top1:.2f} | - | - |' in text


def test_sigterm_ends_the_training_of_several_processes(tmp_path, env):
    """torchrun's workers are in sessions of their own."""
    runs = tmp_path / 'runs'
    folder = runs / 'baseline_r18_cifar100-0.5-epochs-1of1' / 'seed0'
    options = ['--rows', 'baseline', '--nets', 'r18', '--seeds', '1', '--budget', '0.5', '--gpus', '2']
    command = [sys.executable, str(TOOL), 'table1', *options, '--work-dir', str(runs), '--cfg-options', *OPTIONS]
    env['PORT'] = tiny.free_port()
    process = subprocess.Popen(
        command, cwd=tmp_path, env=env, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )
    wait_for(folder / 'epoch_1.pth', process)
    process.terminate()
    process.communicate(timeout=tiny.PATIENCE)
    assert process.returncode == 143
    last = sorted(folder.glob('epoch_*.pth'))
    running = [path.read_bytes() for path in Path('/proc').glob('[0-9]*/cmdline')]
    assert not any(str(folder).encode() in line for line in running)
    assert sorted(folder.glob('epoch_*.pth')) == last and not (folder / 'result.json').exists()


def test_slurm_gets_one_array_whose_tasks_are_the_runs(tmp_path, env):
    sbatch = tmp_path / 'bin' / 'sbatch'
    sbatch.parent.mkdir()
    sbatch.write_text('#!/bin/sh\nfor argument; do echo "$argument"; done > "$0.txt"\n')
    sbatch.chmod(0o755)
    env = {**env, 'PATH': f'{sbatch.parent}:{env["PATH"]}', 'SBATCH_ARGS': '--time 10:00'}
    options = ['--rows', 'mixup', 'mixskd', '--nets', 'wrn16-2', '--seeds', '2', '--data-root', 'my data']
    forked.succeed('reproduce.py', 'table1', *options, '--slurm', 'gpu', cwd=tmp_path, env=env)
    lines = (tmp_path / 'bin' / 'sbatch.txt').read_text().splitlines()
    # Two methods, two seeds.
    assert lines[lines.index('--array') + 1] == '0-3'
    assert lines[lines.index('--partition') + 1] == 'gpu' and '--gres=gpu:1' in lines
    assert lines[lines.index('--time') + 1] == '10:00'
    task = lines[lines.index('--wrap') + 1]
    expected = ['table1', *options, '--task', '$SLURM_ARRAY_TASK_ID']
    assert shlex.split(task) == [sys.executable, str(TOOL), *expected]


@pytest.mark.parametrize(
    ('wrong', 'message'),
    [
        (['table9'], "table 'table9': expected one of table1, table2"),
        (['table1', '--rows', 'nosuch'], '--rows nosuch: expected some of baseline'),
        (['table1', '--nets', 'r50'], '--nets r50: expected some of r18 wrn16-2'),
        (['table1', '--budget', '0'], "--budget 0: expected 'full' or a share"),
        (['table1', '--budget', 'small'], "--budget small: expected 'full' or a share"),
        (['table1', '--subset', '0'], '--subset 0: expected n >= 1'),
        (['table1', '--seeds', '0'], '--seeds 0: expected at least 1'),
        (['table1', '--rows', 'mixup', '--task', '12'], '--task 12: expected 0 to 11'),
        (['table3-transfer', '--seeds', '1'], 'is not done: run `tools/reproduce.py table3` before'),
        (['table3-transfer', '--subset', '2'], '--subset 2: expected a table of classification'),
        (['table1', '--gpus', '0'], '--gpus 0: expected at least 1'),
        (['table1', '--cfg-options', 'param_scheduler.7.end=1'], "--cfg-options {'param_scheduler.7.end': 1}: "),
        (['table5-stage', '--rows', '4', '--nets', 'wrn16-2'], 'only r18 and r50 have a fourth stage'),
        (['table1', '--slurm', 'gpu'], '--slurm gpu: there is no sbatch here'),
    ],
)
def test_wrong_input_ends_in_one_line(tmp_path, monkeypatch, wrong, message):
    monkeypatch.chdir(tmp_path)
    assert message in tiny.error_of('reproduce.py', *wrong, monkeypatch=monkeypatch)
    assert list(tmp_path.iterdir()) == []
