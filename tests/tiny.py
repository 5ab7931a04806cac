"""Tiny trainings: a few handwritten digits, a network of 8 channels, a Runner or a tool that trains it in a second."""

from __future__ import annotations

import contextlib
import functools
import importlib.util
import itertools
import json
import os
import runpy
import socket
import subprocess
import sys
import tempfile
from pathlib import Path
from unittest import mock

import cv2
import numpy as np
import pytest
import torch
from mmengine.config import Config
from mmengine.hooks import Hook
from mmengine.logging import MessageHub
from mmengine.runner import Runner
from sklearn.datasets import load_digits

import mixskd_mm  # noqa: F401  (registers everything)
from mixskd_mm.cli import exit_on_input_error

ROOT = Path(__file__).resolve().parents[1]
TIMES = ('time', 'data_time', 'memory')
# Seconds until something that takes some on an idle machine hangs for certain, however busy the machine is.
PATIENCE = 1200

names = (f'tiny{i}' for i in itertools.count())
_folders: list[tempfile.TemporaryDirectory] = []


@functools.cache
def digits(train: int = 4, test: int = 5) -> Path:
    """A folder data set of ``train`` and ``test`` images per class: ``train/<digit>/*.png`` and ``test/<digit>/*.png``."""
    _folders.append(tempfile.TemporaryDirectory(prefix='mixskd_digits_'))
    root = Path(_folders[-1].name)
    write_digits(root, train, test)
    return root


def write_digits(root: Path, train: int, test: int, classes: int = 10) -> None:
    data = load_digits()
    for digit in range(classes):
        samples = np.flatnonzero(data.target == digit)[: train + test]
        for i, sample in enumerate(samples):
            folder = root / ('train' if i < train else 'test') / str(digit)
            folder.mkdir(parents=True, exist_ok=True)
            image = np.clip(data.images[sample] * (255 / 16), 0, 255).astype(np.uint8)
            cv2.imwrite(str(folder / f'{sample:04d}.png'), cv2.resize(image, (16, 16)))


def config_text(data_root: Path | None = None, method: str = 'mixskd') -> str:
    """A config file: the quickstart's with 8 channels, 4 iterations of 10 images per epoch and no warm-up."""
    return f"""
_base_ = '{ROOT}/configs/quickstart/{method}_r18_digits.py'
data_root = '{data_root or digits()}'
model = dict(backbone=dict(stem_channels=8, base_channels=8), head=dict(in_channels=64))
optim_wrapper = dict(optimizer=dict(lr=0.05))
param_scheduler = [dict(type='ExponentialLR', gamma=0.95, by_epoch=True, convert_to_iter_based=True)]
train_cfg = dict(max_epochs=2, val_interval=100)
train_dataloader = dict(batch_size=10, dataset=dict(data_root=data_root))
val_dataloader = dict(batch_size=50, dataset=dict(data_root=data_root))
test_dataloader = val_dataloader
auto_scale_lr = dict(base_batch_size=10)
default_hooks = dict(checkpoint=dict(interval=1, max_keep_ckpts=-1))
"""


def write_config(folder: Path, data_root: Path | None = None, method: str = 'mixskd', extra: str = '') -> Path:
    """Write :func:`config_text` to ``folder/tiny.py``."""
    path = folder / 'tiny.py'
    path.write_text(config_text(data_root, method) + extra)
    return path


def make_config(work_dir: Path, options: dict | None = None, **kwargs) -> Config:
    """Config of a tiny run; ``options`` are those of ``--cfg-options``, ``kwargs`` those of :func:`config_text`."""
    cfg = Config.fromstring(config_text(**kwargs), '.py')
    cfg.merge_from_dict(options or {})
    cfg.work_dir = str(work_dir)
    # Drawing would take longer than such a training.
    cfg.default_hooks.pop('run_picture', None)
    # The Runner's log and message hub go by this name.
    cfg.experiment_name = next(names)
    return cfg


@contextlib.contextmanager
def running():
    """Around runs in this process: they do not spend their time on laying out configs, and leave no trace if they fail."""
    threads = torch.get_num_threads()
    # Such a small network only waits for more.
    torch.set_num_threads(1)
    try:
        with mock.patch('yapf.yapflib.yapf_api.FormatCode', lambda text, **kwargs: (text, True)):
            yield
    finally:
        torch.set_num_threads(threads)
        # Draws outside a run depend on it otherwise.
        MessageHub.get_current_instance().runtime_info.pop('loop_stage', None)


def train(cfg: Config, *hooks: Hook) -> Runner:
    """Train in this process, with more hooks."""
    with running():
        runner = Runner.from_cfg(cfg)
        for hook in hooks:
            runner.register_hook(hook, priority='LOWEST')
        runner.train()
    return runner


def evaluate(cfg: Config, checkpoint: Path | str) -> dict[str, float]:
    """Test a checkpoint in this process."""
    cfg.load_from = str(checkpoint)
    with running():
        return Runner.from_cfg(cfg).test()


def load(path: Path | str) -> dict:
    return torch.load(path, weights_only=False)


def assert_same_state(one: dict, other: dict, path: str = '') -> None:
    """Two nested state dicts are equal to the bit."""
    if isinstance(one, torch.Tensor):
        assert torch.equal(one, other), path
    elif isinstance(one, dict):
        assert list(one) == list(other), path
        for key in one:
            assert_same_state(one[key], other[key], f'{path}.{key}')
    elif isinstance(one, list | tuple):
        assert len(one) == len(other), path
        for i, (a, b) in enumerate(zip(one, other, strict=True)):
            assert_same_state(a, b, f'{path}.{i}')
    else:
        assert one == other, path


def history(checkpoint: dict, key: str) -> list[float]:
    """What was logged as ``train/<key>`` in each iteration up to the checkpoint."""
    return checkpoint['message_hub']['log_scalars'][f'train/{key}'].data[0].tolist()


def histories(hub: MessageHub) -> dict[str, list[float]]:
    """All that was logged in training, but for times."""
    return {
        key: buffer.data[0].tolist()
        for key, buffer in hub.log_scalars.items()
        if key.startswith('train/') and key.removeprefix('train/') not in TIMES
    }


def scalars(work_dir: Path) -> list[dict]:
    """The lines of scalars.json of the run or, in order, the runs in ``work_dir``, without times."""
    rows = []
    for file in sorted(Path(work_dir).glob('*/vis_data/scalars.json')):
        rows += [json.loads(line) for line in file.read_text().splitlines()]
    return [{key: value for key, value in row.items() if key not in TIMES} for row in rows]


def log_text(work_dir: Path) -> str:
    return ''.join(file.read_text() for file in sorted(Path(work_dir).glob('*/*.log')))


def environment(**variables: str) -> dict[str, str]:
    """For subprocesses: this package and interpreter first, one thread, no waiting in loops."""
    return dict(
        os.environ,
        PYTHONPATH=os.pathsep.join(filter(None, (str(ROOT), os.environ.get('PYTHONPATH')))),
        PATH=os.pathsep.join((os.path.dirname(sys.executable), os.environ['PATH'])),
        OMP_NUM_THREADS='1',
        OMP_WAIT_POLICY='PASSIVE',
        **variables,
    )


def free_port() -> str:
    """A port that nothing listens on."""
    with socket.socket() as server:
        server.bind(('127.0.0.1', 0))
        return str(server.getsockname()[1])


def run_tool(tool: str, *args, cwd: Path | str, env: dict | None = None) -> subprocess.CompletedProcess:
    """Run a script of tools/ as a user does and capture its output."""
    path = ROOT / 'tools' / tool
    start = [sys.executable, str(path)] if path.suffix == '.py' else ['bash', str(path)]
    return subprocess.run(
        [*start, *map(str, args)], cwd=cwd, env=env or environment(), capture_output=True, text=True, timeout=PATIENCE
    )


def succeed(tool: str, *args, cwd: Path | str, env: dict | None = None) -> subprocess.CompletedProcess:
    """:func:`run_tool`, which has to end with status 0."""
    result = run_tool(tool, *args, cwd=cwd, env=env)
    assert result.returncode == 0, result.stdout[-2000:] + result.stderr[-4000:]
    return result


def load_tool(tool: str):
    """The module of tools/<tool>, not run."""
    path = ROOT / 'tools' / tool
    spec = importlib.util.spec_from_file_location(path.stem + '_tool', path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def error_of(tool: str, *args, monkeypatch: pytest.MonkeyPatch) -> str:
    """The line with which tools/<tool> ends for wrong input, run in this process."""
    module = load_tool(tool)
    monkeypatch.setattr(sys, 'argv', [str(ROOT / 'tools' / tool), *map(str, args)])
    # The tool sets it, for what it starts.
    monkeypatch.setenv('LOCAL_RANK', '0')
    with running(), pytest.raises(SystemExit) as error:
        exit_on_input_error(module.main)
    message = error.value.code
    assert isinstance(message, str) and message.startswith('error: ') and len(message.splitlines()) == 1, message
    return message


def run_script(path: str, *args, monkeypatch: pytest.MonkeyPatch) -> None:
    """Run a Python script of this repository in this process, as Python does."""
    monkeypatch.syspath_prepend(str((ROOT / path).parent))
    monkeypatch.setattr(sys, 'argv', [path, *map(str, args)])
    runpy.run_path(str(ROOT / path), run_name='__main__')
