#!/usr/bin/env python
"""Write configs/**/metafile.yml, in which mim and mmpretrain find the recipes, from the configs."""

import argparse
import json
from functools import cache, partial
from pathlib import Path
from unittest import mock

import torch
import yaml
from mmengine.analysis import get_model_complexity_info
from mmengine.config import Config
from mmengine.registry import DefaultScope
from mmpretrain.registry import MODELS

from mixskd_mm.api import recipes, root
from mixskd_mm.checkpoints.write import write_text
from mixskd_mm.cli import exit_on_input_error
from mixskd_mm.configs import read_config
from mixskd_mm.errors import InputError
from mixskd_mm.models.methods.dcm import peer_config

TASKS = {'mmpretrain': 'Image Classification', 'mmdet': 'Object Detection', 'mmseg': 'Semantic Segmentation'}
# How names of recipes call the data sets.
DATASETS = {
    'cifar100-16px': 'CIFAR-100 at 16 x 16',
    'cifar100': 'CIFAR-100',
    'imagenet': 'ImageNet-1k',
    'aircraft': 'FGVC-Aircraft',
    'cars': 'Stanford Cars',
    'cub': 'CUB-200-2011',
    'dogs': 'Stanford Dogs',
    'mit67': 'MIT Indoor 67',
    'coco-stuff164k': 'COCO-Stuff-164k',
    'coco': 'COCO',
    'ade20k': 'ADE20K',
    'voc12aug': 'Pascal VOC 2012',
    'digits': 'Handwritten digits',
    'scenes': 'Digits in photographs',
}


def collection(cfg: Config) -> str:
    """The recipe's collection in model-index.yml: of its method, of the baselines, or of what is fine-tuned."""
    if cfg.default_scope != 'mmpretrain':
        return 'Transfer'
    return {'ImageClassifier': 'Baseline'}.get(cfg.model.type, cfg.model.type.removesuffix('Classifier'))


def dataset(name: str) -> str:
    """What the data set is called. Raises InputError for one that :data:`DATASETS` lacks."""
    for short, title in DATASETS.items():
        if f'_{short}' in name:
            return title
    raise InputError(
        f'recipe {name} has a data set that tools/metafiles.py does not know: expected one of its DATASETS'
    )


def image_size(name: str, cfg: Config) -> int:
    """Side of the square images that the recipe ``name`` is tested on, in pixels."""
    steps = cfg.test_dataloader.dataset.get('pipeline', ())
    sizes = [step[key] for step in steps for key in ('crop_size', 'scale') if key in step]
    if sizes:
        return sizes[-1]
    return {'CIFAR-100': 32, 'CIFAR-100 at 16 x 16': 16, 'Handwritten digits': 16}[dataset(name)]


def networks(model: dict) -> list[dict]:
    """Configs of the plain networks that predict: one, or both where a pair is tested together."""
    plain = dict(type='ImageClassifier', **{part: model.get(part) for part in ('backbone', 'neck', 'head')})
    peer = dict(type='ImageClassifier', **peer_config(model)) if model['type'] == 'DCMClassifier' else None
    return {0: [plain], 1: [peer], 'mean': [plain, peer]}[model.get('test_network', 0)]


@cache
def flops(network: str, size: int) -> int:
    """What mmpretrain's tools/analysis_tools/get_flops.py counts for one image; ``network`` is a config as JSON."""
    model = MODELS.build(json.loads(network)).eval()
    return int(get_model_complexity_info(model, (3, size, size), show_table=False, show_arch=False)['flops'])


@cache
def parameters(network: str) -> int:
    """Number of parameters of ``network``, a config as JSON."""
    on_host = partial(torch.linspace, device='cpu')
    # No weights are drawn; but backbones read numbers from what linspace gives.
    with torch.device('meta'), mock.patch('torch.linspace', on_host):
        return sum(parameter.numel() for parameter in MODELS.build(json.loads(network)).parameters())


def entry(name: str, path: Path, cfg: Config) -> dict:
    """What the metafile says of a recipe. Metrics are those that were measured with it: none yet."""
    facts = {'Training Data': dataset(name)}
    facts.update({'Epochs': cfg.train_cfg.max_epochs} if 'max_epochs' in cfg.train_cfg else {})
    facts.update({'Iterations': cfg.train_cfg.max_iters} if 'max_iters' in cfg.train_cfg else {})
    if 'auto_scale_lr' in cfg:
        facts['Batch Size'] = cfg.auto_scale_lr.base_batch_size
    if cfg.default_scope == 'mmpretrain':
        predicting, size = [json.dumps(network) for network in networks(cfg.model.to_dict())], image_size(name, cfg)
        with DefaultScope.overwrite_default_scope('mmpretrain'):
            facts['FLOPs'] = sum(flops(network, size) for network in predicting)
            facts['Parameters'] = sum(map(parameters, predicting))
    return {
        'Name': name,
        'In Collection': collection(cfg),
        'Config': path.relative_to(root()).as_posix(),
        'Metadata': facts,
        'Results': [{'Task': TASKS[cfg.default_scope], 'Dataset': dataset(name), 'Metrics': None}],
    }


def metafiles() -> dict[Path, str]:
    """The text of each metafile."""
    models: dict[Path, list[dict]] = {}
    for name, path in recipes().items():
        models.setdefault(path.parent / 'metafile.yml', []).append(entry(name, path, read_config(str(path))))
    return {
        file: '# Written by tools/metafiles.py.\n' + yaml.safe_dump({'Models': found}, sort_keys=False)
        for file, found in models.items()
    }


def main() -> None:
    argparse.ArgumentParser(description=__doc__).parse_args()
    for file, text in metafiles().items():
        write_text(str(file), text)
        print(f'wrote {file}')


if __name__ == '__main__':
    exit_on_input_error(main)
