"""The training that all faults are tried on: a MixSKD recipe that takes seconds on one core."""

from __future__ import annotations

import shutil
import time
from pathlib import Path

import cv2
import numpy as np
from sandbox import ROOT, Result, run
from sklearn.datasets import load_digits

EPOCHS = 3
CLASSES = 4
CONFIG = """
_base_ = '{root}/configs/quickstart/mixskd_r18_digits.py'
data_root = '{data}'
model = dict(backbone=dict(stem_channels=4, base_channels=4), head=dict(in_channels=32, num_classes={classes}))
data_preprocessor = dict(num_classes={classes})
optim_wrapper = dict(optimizer=dict(lr=0.05))
param_scheduler = [dict(type='CosineAnnealingLR', T_max={epochs}, by_epoch=True, convert_to_iter_based=True)]
train_cfg = dict(max_epochs={epochs}, val_interval=1)
train_dataloader = dict(batch_size=8, dataset=dict(data_root=data_root))
val_dataloader = dict(batch_size=8, dataset=dict(data_root=data_root))
test_dataloader = val_dataloader
auto_scale_lr = dict(base_batch_size=8)
default_hooks = dict(checkpoint=dict(interval=1, max_keep_ckpts=-1), logger=dict(interval=1))
"""
# The same images from list files instead of folders of classes.
LISTS = """
train_dataloader = dict(dataset=dict(ann_file='train.txt'))
val_dataloader = dict(dataset=dict(ann_file='test.txt'))
test_dataloader = val_dataloader
"""


def write_data(root: Path, per_class: int = 6) -> None:
    """Handwritten digits as folders of classes, with a list file of each split."""
    digits = load_digits()
    for split, first in (('train', 0), ('test', per_class)):
        lines = []
        for label in range(CLASSES):
            folder = root / split / f'digit-{label}'
            folder.mkdir(parents=True)
            for i in np.flatnonzero(digits.target == label)[first : first + per_class]:
                pixels = np.clip(digits.images[i] * (255 / 16), 0, 255).astype(np.uint8)
                cv2.imwrite(str(folder / f'{i:04d}.png'), cv2.resize(pixels, (16, 16)))
                lines.append(f'digit-{label}/{i:04d}.png {label}')
        (root / f'{split}.txt').write_text('\n'.join(lines) + '\n')


def write_config(path: Path, data: Path, lists: bool = False) -> Path:
    """Write the config of the training; ``lists`` reads the data from list files."""
    path.write_text(CONFIG.format(root=ROOT, data=data, classes=CLASSES, epochs=EPOCHS) + (LISTS if lists else ''))
    return path


class Reference:
    """The data, the config and the uninterrupted training that trials are compared with."""

    def __init__(self, folder: Path) -> None:
        self.data = folder / 'data'
        write_data(self.data)
        self.config = write_config(folder / 'tiny.py', self.data)
        self.work_dir = folder / 'reference'
        started = time.monotonic()
        self.result = self.train(self.work_dir)
        self.seconds = time.monotonic() - started
        if self.result.status:
            raise RuntimeError(f'the training without a fault failed:\n{self.result.output[-3000:]}')

    def checkpoint(self, epoch: int = EPOCHS) -> Path:
        return self.work_dir / f'epoch_{epoch}.pth'

    def train(self, work_dir: Path, *args, config: Path | None = None, options=(), **faults) -> Result:
        """Train into ``work_dir``; ``options`` are those of ``--cfg-options``, ``faults`` those of :func:`sandbox.run`."""
        options = ('--cfg-options', *options) if options else ()
        return run('train.py', config or self.config, '--work-dir', work_dir, *args, *options, **faults)

    def started(self, work_dir: Path, epochs: int) -> Path:
        """Make a work directory as it is after some epochs; returns its last checkpoint."""
        work_dir.mkdir(parents=True)
        for epoch in range(1, epochs + 1):
            shutil.copy(self.checkpoint(epoch), work_dir)
        last = work_dir / f'epoch_{epochs}.pth'
        (work_dir / 'last_checkpoint').write_text(str(last))
        return last
