#!/usr/bin/env python
"""Carry checkpoints between two environments and compare what comes out on the other side.

    python tests/run_across_stacks.py .venv/bin/python .venv-original/bin/python

Each Python trains a tiny MixSKD for one epoch. The other one loads the checkpoint and gives the same logits, tests it to
the same accuracies, resumes it, exports the same tensors, and fine-tunes a segmenter from it.
"""

import argparse
import json
import os
import subprocess
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
SCENES = 'configs/quickstart/deeplabv3_r18-mixskd-pre_scenes.py'

# Each is run by one of the two interpreters, in the folder of the data and with the config `tiny.py` there.
PREPARE = f"""
import sys
from pathlib import Path
sys.path.insert(0, {str(ROOT / 'tests')!r})
import tiny
tiny.write_digits(Path('digits'), 4, 5)
tiny.write_config(Path(), Path('digits').absolute())
"""
LOGITS = """
import json, sys
import numpy as np
import torch
from mmengine.runner import load_checkpoint
from mixskd_mm.cli import read_config
from mmpretrain.registry import MODELS
model = MODELS.build(read_config('tiny.py').model).eval()
load_checkpoint(model, sys.argv[1], map_location='cpu', strict=True)
images = np.random.RandomState(0).standard_normal((8, 3, 16, 16)).astype('float32')
with torch.no_grad():
    logits = model.head(model.extract_feat(torch.from_numpy(images)))
json.dump(logits.flatten().tolist(), open(sys.argv[2], 'w'))
"""
TENSORS = """
import hashlib, json, sys
import torch
state = torch.load(sys.argv[1], weights_only=True, map_location='cpu')
state = state.get('state_dict', state)
digests = {name: hashlib.sha256(value.numpy().tobytes()).hexdigest() for name, value in state.items()}
json.dump(digests, open(sys.argv[2], 'w'))
"""


class Environment:
    """One of the interpreters, which may be a link and must stay one to find its libraries."""

    def __init__(self, name: str, python: str, folder: Path) -> None:
        self.name, self.python, self.folder = name, os.path.abspath(python), folder

    def run(self, *command: str) -> None:
        env = dict(os.environ, PYTHONPATH=str(ROOT), OMP_NUM_THREADS='1', OMP_WAIT_POLICY='PASSIVE')
        command = (self.python, *map(str, command))
        result = subprocess.run(command, cwd=self.folder, env=env, capture_output=True, text=True)
        if result.returncode:
            raise SystemExit(
                f'{self.name}: {" ".join(command)} failed:\n{result.stdout[-2000:]}{result.stderr[-4000:]}'
            )

    def tool(self, name: str, *arguments: str) -> None:
        self.run(ROOT / 'tools' / name, *arguments)

    def result(self, code: str, checkpoint: str, name: str):
        """What a piece of code writes about a checkpoint."""
        file = self.folder / f'{self.name}_{name}.json'
        self.run('-c', code, checkpoint, file)
        return json.loads(file.read_text())

    def train(self, work_dir: str, epochs: int, *arguments: str) -> str:
        options = ('--cfg-options', f'train_cfg.max_epochs={epochs}')
        self.tool('train.py', 'tiny.py', '--work-dir', work_dir, *arguments, *options)
        return f'{work_dir}/epoch_{epochs}.pth'

    def accuracies(self, checkpoint: str) -> dict:
        file = self.folder / f'{self.name}_test.json'
        self.tool('test.py', 'tiny.py', checkpoint, '--work-dir', f'{self.name}_tests', '--out', file)
        return json.loads(file.read_text())

    def exported(self, checkpoint: str) -> dict:
        self.tool('checkpoints/export_backbone.py', checkpoint, f'{self.name}.pth', '--format', 'mm')
        return self.result(TENSORS, f'{self.name}.pth', 'tensors')


def check(what: str, passed: bool) -> None:
    if not passed:
        raise SystemExit(f'FAILED: {what}')
    print(f'  {what}', flush=True)


def cross(start: Environment, end: Environment) -> None:
    print(f'trained with {start.name}, continued with {end.name}', flush=True)
    checkpoint = start.train(start.name, 1)

    here, there = (one.result(LOGITS, checkpoint, 'logits') for one in (start, end))
    difference = max(abs(a - b) for a, b in zip(here, there, strict=True))
    check(f'logits differ by at most {difference:.1e}', difference < 1e-4)
    accuracies = start.accuracies(checkpoint)
    check(f'tested: {accuracies}', end.accuracies(checkpoint) == accuracies)
    check('exported: the same tensors', end.exported(checkpoint) == start.exported(checkpoint))
    resumed = end.train(start.name, 2, '--resume')
    check(f'resumed: {resumed}', (end.folder / resumed).is_file() and bool(start.accuracies(resumed)))
    changes = {
        'model.backbone.init_cfg.checkpoint': checkpoint,
        'model.backbone.stem_channels': 8,
        'model.backbone.base_channels': 8,
        'model.decode_head.in_channels': 64,
        'model.auxiliary_head.in_channels': 32,
        'train_dataloader.batch_size': 2,
        'train_cfg.max_iters': 2,
        'train_cfg.val_interval': 2,
        'param_scheduler.0.end': 2,
    }
    options = (f'{key}={value}' for key, value in changes.items())
    end.tool('train.py', ROOT / SCENES, '--work-dir', f'{start.name}_tuned', '--cfg-options', *options)
    check('fine-tuned: a segmenter', True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('pythons', nargs=2, help='the interpreters of two environments')
    args = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix='mixskd_across_') as folder:
        one, other = (Environment(f'stack{i}', python, Path(folder)) for i, python in enumerate(args.pythons))
        for environment in (one, other):
            print(f'{environment.name}: {environment.python}')
        one.run('-c', PREPARE)
        one.tool('quickstart/make_scenes.py', 'work_dirs/quickstart/scenes', '--train', '4', '--test', '2')
        cross(one, other)
        cross(other, one)


if __name__ == '__main__':
    main()
