"""Tiny data sets in the layouts of the downstream configs, real digits on photographs, and a ResNet-50 to start from."""

from __future__ import annotations

import functools
import json
import tempfile
from pathlib import Path

import cv2
import numpy as np
import torch
from mmengine.config import Config
from mmpretrain.registry import MODELS
from sklearn.datasets import load_digits, load_sample_images
from torch import nn

import mixskd_mm  # noqa: F401  (registers everything)

ROOT = Path(__file__).resolve().parents[1]
IGNORED = 255

_folders: list[tempfile.TemporaryDirectory] = []


def folder() -> Path:
    _folders.append(tempfile.TemporaryDirectory(prefix='mixskd_downstream_'))
    return Path(_folders[-1].name)


@functools.cache
def scenes(number: int = 2, height: int = 72, width: int = 96) -> list[tuple[np.ndarray, np.ndarray, list]]:
    """Photographs with three digits each.

    Returns:
        list[tuple]: image (height, width, 3) uint8 BGR; mask (height, width) uint8, 0 where there is no digit, else 1 + the
            digit, 255 in the first row; boxes ``(x, y, w, h, digit)`` of the digits' pixels.
    """
    digits = load_digits()
    photographs = load_sample_images().images
    result = []
    for i in range(number):
        image = cv2.resize(photographs[i % 2][..., ::-1], (width, height), interpolation=cv2.INTER_AREA)
        mask = np.zeros((height, width), np.uint8)
        boxes = []
        for j in range(3):
            sample = 3 * i + j
            digit = int(digits.target[sample])
            strokes = cv2.resize(digits.images[sample].astype(np.float32), (28, 28)) > 7
            x, y = 2 + j * width // 3, 4 + (i + j) * 11 % (height - 36)
            image[y : y + 28, x : x + 28][strokes] = (0, 255 - 20 * digit, 255)
            mask[y : y + 28, x : x + 28][strokes] = 1 + digit
            rows, columns = np.nonzero(strokes)
            size = np.ptp(columns) + 1, np.ptp(rows) + 1
            boxes.append((x + columns.min(), y + rows.min(), *size, digit))
        mask[0] = IGNORED
        result.append((image, mask, boxes))
    return result


def write(path: Path, image: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    assert cv2.imwrite(str(path), image)


@functools.cache
def coco() -> Path:
    """COCO 2017's layout; the digit d is category d of COCO's 80."""
    from mmdet.datasets import CocoDataset

    root = folder()
    names = CocoDataset.METAINFO['classes']
    images, annotations = [], []
    for i, (image, _, boxes) in enumerate(scenes()):
        write(root / 'train2017' / f'{i}.png', image)
        write(root / 'val2017' / f'{i}.png', image)
        images.append(dict(id=i, file_name=f'{i}.png', height=image.shape[0], width=image.shape[1]))
        for *box, digit in boxes:
            x, y, w, h = map(int, box)
            annotations.append(
                dict(
                    id=len(annotations) + 1, image_id=i, category_id=digit + 1, bbox=[x, y, w, h], area=w * h, iscrowd=0
                )
            )
    categories = [dict(id=k + 1, name=name) for k, name in enumerate(names)]
    (root / 'annotations').mkdir()
    for split in ('train2017', 'val2017'):
        text = json.dumps(dict(images=images, annotations=annotations, categories=categories))
        (root / 'annotations' / f'instances_{split}.json').write_text(text)
    return root


@functools.cache
def voc() -> Path:
    """VOC2012's layout with SegmentationClassAug: the first scene in train, the second in aug, both in val."""
    root = folder()
    lists = root / 'ImageSets' / 'Segmentation'
    lists.mkdir(parents=True)
    for name, ids in dict(train='0', aug='1', val='0\n1').items():
        (lists / f'{name}.txt').write_text(ids + '\n')
    for i, (image, mask, _) in enumerate(scenes()):
        write(root / 'JPEGImages' / f'{i}.jpg', image)
        write(root / 'SegmentationClass' / f'{i}.png', mask)
    write(root / 'SegmentationClassAug' / '1.png', scenes()[1][1])
    return root


@functools.cache
def ade() -> Path:
    """ADE20K's layout: labels 1 to 150, 0 is ignored."""
    root = folder()
    for split in ('training', 'validation'):
        for i, (image, mask, _) in enumerate(scenes()):
            write(root / 'images' / split / f'{i}.jpg', image)
            write(root / 'annotations' / split / f'{i}.png', np.where(mask == IGNORED, 0, mask + 1).astype(np.uint8))
    return root


@functools.cache
def coco_stuff() -> Path:
    """COCO-Stuff-164k's layout: pixel maps with ids of 182, and mmseg's conversion to 171. The background is the last."""
    root = folder()
    for split in ('train2017', 'val2017'):
        for i, (image, mask, _) in enumerate(scenes()):
            write(root / 'images' / split / f'{i}.jpg', image)
            for suffix, last in (('', 181), ('_labelTrainIds', 170)):
                # Digits 0 to 9 as ids 0 to 9, which are the same in both.
                labels = np.where(mask == 0, last, np.where(mask == IGNORED, IGNORED, mask - 1)).astype(np.uint8)
                write(root / 'annotations' / split / f'{i}{suffix}.png', labels)
    return root


DATA = {'coco': coco, 'voc12aug': voc, 'ade20k': ade, 'coco-stuff164k': coco_stuff}


def load_config(path: Path, work_dir: Path, crop: int = 64, checkpoint: Path | None = None) -> Config:
    """A downstream config with its data set's tiny counterpart, crops of ``crop`` pixels, and no worker processes."""
    cfg = Config.fromfile(path)
    cfg.work_dir = str(work_dir)
    cfg.experiment_name = Path(work_dir).name
    cfg.model.backbone.init_cfg.checkpoint = str(checkpoint or resnet50())
    kind = 'coco' if cfg.default_scope == 'mmdet' else path.stem.split('40k_')[1].removesuffix('-512x512')
    for name in ('train_dataloader', 'val_dataloader', 'test_dataloader'):
        loader = cfg[name]
        loader.update(num_workers=0, persistent_workers=False)
        for dataset in loader.dataset.get('datasets', [loader.dataset]):
            dataset.data_root = f'{DATA[kind]()}/'
            for transform in dataset.pipeline:
                if transform.type == 'RandomCrop':
                    transform.crop_size = (crop, crop)
                elif 'scale' in transform:
                    transform.scale = (crop, crop)
    if cfg.default_scope == 'mmseg':
        cfg.model.data_preprocessor.size = (crop, crop)
    else:
        for evaluator in (cfg.val_evaluator, cfg.test_evaluator):
            evaluator.ann_file = str(coco() / 'annotations' / 'instances_val2017.json')
    return cfg


@functools.cache
def resnet50() -> Path:
    """A training checkpoint of a ResNet-50 with MixSKD: random, also where a new network has ones and zeros.

    Beside the whole backbone and classifier it has a tensor of each kind that only served MixSKD.
    """
    torch.manual_seed(0)
    backbone = MODELS.build(dict(type='ResNet', depth=50, zero_init_residual=False))
    backbone.init_weights()
    for module in backbone.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.uniform_(module.weight, 0.8, 1.0)
            nn.init.normal_(module.bias, std=0.1)
            module.momentum = 1.0
            module.num_batches_tracked.random_(1000)
    # A detector keeps the statistics, so they have to be those of such images.
    images = torch.from_numpy(np.stack([image for image, _, _ in scenes()])).permute(0, 3, 1, 2)
    with torch.no_grad():
        backbone.train()
        backbone((images - 110.0) / 60)
    state = {f'backbone.{name}': value for name, value in backbone.state_dict().items()}
    state['head.fc.weight'] = torch.randn(10, 2048)
    state['head.fc.bias'] = torch.randn(10)
    state['branches.2.stages.layer4.0.conv1.weight'] = torch.randn(512, 1024, 1, 1)
    state['self_teacher.fc.weight'] = torch.randn(10, 16)
    state['discriminators.0.mlp.0.weight'] = torch.randn(16, 256)
    path = folder() / 'epoch_305.pth'
    torch.save({'state_dict': state, 'meta': {'epoch': 305}}, path)
    return path
