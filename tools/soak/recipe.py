"""The trainings that faults are tried on: recipes of the quickstart that take seconds on one core."""

from __future__ import annotations

import shutil
import time
from pathlib import Path

import cv2
import numpy as np
from sandbox import ROOT, Result, run
from sklearn.datasets import load_digits

CLASSES = 4
CLASSIFICATION = """
_base_ = '{root}/configs/quickstart/mixskd_r18_digits.py'
data_root = '{data}'
model = dict(backbone=dict(stem_channels=4, base_channels=4), head=dict(in_channels=32, num_classes=4))
data_preprocessor = dict(num_classes=4)
optim_wrapper = dict(optimizer=dict(lr=0.05))
param_scheduler = [dict(type='CosineAnnealingLR', T_max=3, by_epoch=True, convert_to_iter_based=True)]
train_cfg = dict(max_epochs=3, val_interval=1)
train_dataloader = dict(batch_size=8, dataset=dict(data_root=data_root))
val_dataloader = dict(batch_size=8, dataset=dict(data_root=data_root))
test_dataloader = val_dataloader
auto_scale_lr = dict(base_batch_size=8)
default_hooks = dict(checkpoint=dict(interval=1, max_keep_ckpts=-1), logger=dict(interval=1))
"""
SEGMENTATION = """
_base_ = '{root}/configs/quickstart/deeplabv3_r18-scratch_scenes.py'
model = dict(
    backbone=dict(stem_channels=4, base_channels=4),
    decode_head=dict(in_channels=32, channels=8),
    auxiliary_head=dict(in_channels=16, channels=8),
)
param_scheduler = [dict(type='PolyLR', eta_min=0, power=0.9, begin=0, end=6, by_epoch=False)]
train_cfg = dict(max_iters=6, val_interval=2)
train_dataloader = dict(batch_size=2, dataset=dict(data_root='{data}'))
val_dataloader = dict(dataset=dict(data_root='{data}'))
test_dataloader = val_dataloader
auto_scale_lr = dict(base_batch_size=2)
default_hooks = dict(checkpoint=dict(interval=2, max_keep_ckpts=-1), logger=dict(interval=1))
"""
DETECTION = """
_base_ = '{root}/configs/quickstart/cascade-rcnn_r18-scratch_scenes.py'
model = dict(backbone=dict(stem_channels=4, base_channels=4), neck=dict(in_channels=[16, 32]))
param_scheduler = [dict(type='MultiStepLR', milestones=[2], gamma=0.1)]
train_cfg = dict(max_epochs=3, val_interval=1)
train_dataloader = dict(batch_size=2, dataset=dict(data_root='{data}'))
val_dataloader = dict(dataset=dict(data_root='{data}'))
test_dataloader = val_dataloader
val_evaluator = dict(ann_file='{data}/test.json')
test_evaluator = val_evaluator
auto_scale_lr = dict(base_batch_size=2)
default_hooks = dict(checkpoint=dict(interval=1, max_keep_ckpts=-1), logger=dict(interval=1))
"""
# Each with its config and the checkpoints that it leaves, the last one last.
RECIPES = {
    'classification': (CLASSIFICATION, ('epoch_1.pth', 'epoch_2.pth', 'epoch_3.pth')),
    'segmentation': (SEGMENTATION, ('iter_2.pth', 'iter_4.pth', 'iter_6.pth')),
    'detection': (DETECTION, ('epoch_1.pth', 'epoch_2.pth', 'epoch_3.pth')),
}
# The images of the classification from list files instead of folders of classes.
LISTS = """
train_dataloader['dataset']['ann_file'] = 'train.txt'
val_dataloader['dataset']['ann_file'] = 'test.txt'
"""


def write_digits(root: Path, per_class: int = 6) -> None:
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


class Reference:
    """The data, the config and the uninterrupted training that the trials of a recipe are compared with.

    Args:
        folder (Path): Where they go.
        recipe (str): A key of :data:`RECIPES`. Defaults to 'classification'.

    Raises:
        RuntimeError: if the training fails.
    """

    def __init__(self, folder: Path, recipe: str = 'classification') -> None:
        self.recipe, self.data, self.work_dir = recipe, folder / 'data', folder / 'reference'
        self.names = RECIPES[recipe][1]
        folder.mkdir(parents=True, exist_ok=True)
        if recipe == 'classification':
            write_digits(self.data)
        else:
            run('quickstart/make_scenes.py', self.data, '--train', 6, '--test', 3)
        self.config = self.write_config(folder / 'tiny.py', self.data)
        started = time.monotonic()
        result = self.train(self.work_dir)
        self.seconds = time.monotonic() - started
        if result.status:
            raise RuntimeError(f'the {recipe} without a fault failed:\n{result.output[-3000:]}')

    @property
    def last(self) -> Path:
        """The last checkpoint."""
        return self.work_dir / self.names[-1]

    def write_config(self, path: Path, data: Path, lists: bool = False) -> Path:
        """Write the config of the training on ``data``; ``lists`` reads images for classification from list files."""
        path.write_text(RECIPES[self.recipe][0].format(root=ROOT, data=data) + (LISTS if lists else ''))
        return path

    def train(self, work_dir: Path, *args, config: Path | None = None, options=(), **faults) -> Result:
        """Train into ``work_dir``; ``options`` are those of ``--cfg-options``, ``faults`` those of :func:`sandbox.run`."""
        options = ('--cfg-options', *options) if options else ()
        return run('train.py', config or self.config, '--work-dir', work_dir, *args, *options, **faults)

    def started(self, work_dir: Path, count: int) -> Path:
        """Make a work directory as it is after the first ``count`` checkpoints; returns the last of them."""
        work_dir.mkdir(parents=True)
        for name in self.names[:count]:
            shutil.copy(self.work_dir / name, work_dir)
        last = work_dir / self.names[count - 1]
        (work_dir / 'last_checkpoint').write_text(str(last))
        return last
