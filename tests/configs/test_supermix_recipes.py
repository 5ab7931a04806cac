"""The recipes of SuperMix, against its supplement and its authors' README."""

import pytest
import tiny
from mmengine.registry import init_default_scope
from mmpretrain.registry import MODELS

from mixskd_mm.configs import merge_options, read_config

FOLDER = tiny.ROOT / 'configs' / 'supermix'

# Parameters: tests/models/backbones/test_supermix_networks.py has those of the backbones with their classifiers.
BASELINES = {
    'wrn40-2': 2_255_156,
    'wrn40-1': 569_780,
    'wrn16-2': 703_284,
    'r20': 278_324,
    'r32': 472_756,
    'r56': 861_620,
    'r110': 1_736_564,
    'r8x4': 1_233_540,
    'r32x4': 7_433_860,
    'r50': 23_705_252,
    'vgg8': 3_965_028,
    'vgg13': 9_462_180,
    'mobilenetv2': 812_836,
    'shufflenetv1': 949_258,
    'shufflenetv2': 1_355_528,
    'wrn40-2-bias': 2_258_084,
    'wrn28-10-bias': 36_546_980,
    'shake26-2x96d': 26_366_404,
}
ON_IMAGENET = {'r18': 11_689_512, 'r34': 21_797_672, 'r50': 25_557_032}
# Weights of CE on natural and on mixed images and of KD; images of KD; what mixed images learn.
PSEUDO_LABELS = (2.0, 2.0, 0.0, 'natural', True)
METHODS = {
    'supermix_wrn16-2_cifar100-600e': ('wrn16-2', PSEUDO_LABELS),
    'supermix-kd_wrn16-2_cifar100-600e': ('wrn16-2', (0.1, 0.0, 0.9, 'mixed', False)),
    'supermix-kd-release_wrn16-2_cifar100-600e': ('wrn16-2', (1.8, 1.8, 0.2, 'natural', True)),
    'supermix-kd-swapped_wrn16-2_cifar100-600e': ('wrn16-2', (0.2, 0.2, 1.8, 'natural', True)),
    'supermix-aug_wrn40-2-bias_cifar100-600e': ('wrn40-2-bias', (1.0, 1.0, 0.0, 'natural', False)),
    'supermix_r18_imagenet-100e': ('r18', PSEUDO_LABELS),
    'supermix-kd_r18_imagenet-100e': ('r18', (0.1, 0.0, 0.9, 'mixed', False)),
    'supermix-aug_r50_imagenet-100e': ('r50', (1.0, 1.0, 0.0, 'natural', False)),
}


def read(name):
    return read_config(str(FOLDER / f'{name}.py'))


def build(cfg):
    init_default_scope(cfg.default_scope)
    return MODELS.build(dict(cfg.model, data_preprocessor=cfg.data_preprocessor))


def count(*modules):
    return sum(parameter.numel() for module in modules for parameter in module.parameters())


def schedule(cfg):
    optimizer, (drops,) = cfg.optim_wrapper.optimizer, cfg.param_scheduler
    return dict(
        optimizer=(optimizer.type, optimizer.lr, optimizer.momentum, optimizer.weight_decay),
        epochs=cfg.train_cfg.max_epochs,
        drops=(drops.type, drops.milestones, drops.gamma),
        batch=cfg.auto_scale_lr.base_batch_size,
    )


def expected_schedule(name, lr=0.1):
    if name.endswith('cifar100-600e'):
        drops = ('MultiStepLR', [200, 300, 400, 500], 0.1)
        return dict(optimizer=('SGD', lr, 0.9, 5e-4), epochs=600, drops=drops, batch=128)
    drops = ('MultiStepLR', [30, 60, 90], 0.1)
    return dict(optimizer=('SGD', 0.025, 0.9, 1e-4), epochs=100, drops=drops, batch=256)


BASELINE_FILES = {
    **{f'baseline_{net}_cifar100-600e': number for net, number in BASELINES.items()},
    **{f'baseline_{net}_imagenet-100e': number for net, number in ON_IMAGENET.items()},
}


def test_every_recipe_is_in_a_table():
    found = {path.stem for path in FOLDER.glob('*.py')}
    assert found == {*BASELINE_FILES, *METHODS, 'supermix_r18_cifar100'}


@pytest.mark.parametrize('name', BASELINE_FILES)
def test_baselines(name):
    cfg = read(name)
    assert cfg.model.type == 'ImageClassifier'
    small = name.split('_')[1] in ('mobilenetv2', 'shufflenetv1', 'shufflenetv2')
    assert schedule(cfg) == expected_schedule(name, lr=0.02 if small else 0.1)
    model = build(cfg)
    assert count(model.backbone, model.head) == BASELINE_FILES[name]
    gpus = 8 if 'imagenet' in name else 1
    assert cfg.train_dataloader.batch_size * gpus == cfg.auto_scale_lr.base_batch_size


@pytest.mark.parametrize('name', METHODS)
def test_methods(name):
    cfg, (network, (ce_weight, mixed_weight, kd_weight, kd_on, by_teacher)) = read(name), METHODS[name]
    data = name.rpartition('_')[2]
    baseline = read(f'baseline_{network}_{data}')
    assert schedule(cfg) == schedule(baseline) == expected_schedule(name)
    model = build(cfg)
    assert (model.ce_weight, model.mixed_weight, model.kd_weight) == (ce_weight, mixed_weight, kd_weight)
    assert (model.kd_on, model.labels_by_teacher) == (kd_on, by_teacher)
    assert count(model.backbone, model.head) == BASELINE_FILES[f'baseline_{network}_{data}']
    loader = cfg.train_dataloader
    natural, mixed = loader.dataset.datasets
    assert loader.dataset.type == 'NaturalAndMixedDataset' and natural == baseline.train_dataloader.dataset
    assert loader.batch_sampler == dict(type='NaturalMixedBatchSampler')
    assert loader.batch_size == baseline.train_dataloader.batch_size
    assert mixed.type == 'SuperMixDataset' and mixed.get('labels') == ('soft' if '-aug' in name else None)
    steps = [step.type for step in mixed.pipeline]
    if 'cifar100' in name:
        assert steps == ['RandomCrop', 'RandomFlip', 'PackInputs']
        assert (mixed.pipeline[0].padding, natural.pipeline[0].padding) == (2, 4)
    else:
        assert steps == ['RandomFlip', 'PackInputs']
    if '-aug' in name:
        assert not hasattr(model, 'teacher')
        return
    teacher = 'baseline_wrn40-2_cifar100-600e' if 'cifar100' in name else 'baseline_r34_imagenet-100e'
    assert count(model.teacher) == BASELINE_FILES[teacher]
    epochs = read(teacher).train_cfg.max_epochs
    assert cfg.model.teacher_checkpoint == f'work_dirs/{teacher}/epoch_{epochs}.pth'
    assert model.kd_loss.temperature == 4.0


def test_pairs_compose():
    student, teacher = (FOLDER / f'baseline_{net}_cifar100-600e.py' for net in ('vgg8', 'vgg13'))
    cfg = read_config(str(FOLDER / 'supermix-kd-release_wrn16-2_cifar100-600e.py'), str(student))
    merge_options(cfg, {'model.teacher': str(teacher), 'model.teacher_checkpoint': 'vgg13.pth'})
    model = build(cfg)
    assert count(model.backbone, model.head) == BASELINES['vgg8'] and count(model.teacher) == BASELINES['vgg13']
    assert (model.ce_weight, model.kd_weight) == (1.8, 0.2) and cfg.model.teacher_checkpoint == 'vgg13.pth'
    assert schedule(cfg) == expected_schedule('vgg8_cifar100-600e')
