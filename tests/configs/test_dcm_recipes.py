"""The recipes of DCM, against its supplement (sections 1 and 2.3). test_dcm_parts.py looks at schedules and data."""

import pytest
import tiny
import torch
from mmengine.config import Config
from mmengine.registry import init_default_scope
from mmpretrain.registry import MODELS

FOLDER = tiny.ROOT / 'configs' / 'dcm'

# Parameters of a network with its classifier, of C3 and of C2, by the formulas of tests/models/test_branches.py.
PARAMETERS = {
    'ResNet-110': ('ThinResNet_CIFAR', 1_736_564, 819_108, 5_224_292),
    'ResNet-164': ('BottleneckResNet_CIFAR', 1_727_284, 850_916, 5_109_860),
    'DenseNet-40-12': ('DenseNet_CIFAR', 1_060_132, 650_236, 2_038_996),
    'WRN-28-4': ('WideResNet_CIFAR', 5_872_180, 3_241_188, 17_230_180),
    'WRN-28-10': ('WideResNet_CIFAR', 36_536_884, 20_145_060, 107_464_420),
    'MobileNet': ('MobileNet_CIFAR', 3_309_476, 3_175_268, 5_484_132),
    'CIFAR ResNet-18': ('ResNet_CIFAR', 11_220_132, 9_364_068, 31_045_732),
    'ResNet-18': ('ResNet', 11_689_512, 9_825_768, 31_968_232),
    'ResNet-50': ('ResNet', 25_557_032, 16_297_960, 58_668_008),
    'MobileNetV2': ('StagedMobileNetV2', 3_504_872, 2_725_704, 3_474_280),
}
# Lr and its schedule, as test_dcm_parts.py has them.
DCM_DATA = dict(mean=[125.3, 123.0, 113.9], padding='reflect')
RESNET = dict(epochs=200, batch=64, weight_decay=1e-4, drops=([60, 120, 180], 0.1), **DCM_DATA)
DENSENET = dict(epochs=300, batch=64, weight_decay=1e-4, drops=([150, 225], 0.1), nesterov=True, **DCM_DATA)
WRN = dict(epochs=200, batch=128, weight_decay=5e-4, drops=([60, 120, 160], 0.2), **DCM_DATA)
COMMON = dict(
    epochs=205, batch=128, weight_decay=5e-4, drops=([105, 155], 0.1), mean=[129.3, 124.1, 112.4], padding='constant'
)
IMAGENET_DATA = dict(mean=[123.7, 116.3, 103.5], padding=None)
IMAGENET = dict(epochs=100, batch=256, weight_decay=1e-4, drops=([30, 60, 90], 0.1), **IMAGENET_DATA)
MOBILENET_V2 = dict(epochs=150, batch=256, weight_decay=4e-5, drops=None, lr=0.05, **IMAGENET_DATA)
RECIPES = {
    'r110_cifar100': (RESNET, 'ResNet-110', 'ResNet-110'),
    'r164_cifar100': (RESNET, 'ResNet-164', 'ResNet-164'),
    'mobilenet_cifar100': (RESNET, 'MobileNet', 'MobileNet'),
    'densenet40-12_cifar100': (DENSENET, 'DenseNet-40-12', 'DenseNet-40-12'),
    'wrn28-4_cifar100': (WRN, 'WRN-28-4', 'WRN-28-4'),
    'wrn28-10_cifar100': (WRN, 'WRN-28-10', 'WRN-28-10'),
    'wrn28-10-r110_cifar100': (WRN, 'WRN-28-10', 'ResNet-110'),
    'wrn28-10-mobilenet_cifar100': (WRN, 'WRN-28-10', 'MobileNet'),
    'r18_cifar100': (COMMON, 'CIFAR ResNet-18', 'CIFAR ResNet-18'),
    'r18_imagenet': (IMAGENET, 'ResNet-18', 'ResNet-18'),
    'r50_imagenet': (IMAGENET, 'ResNet-50', 'ResNet-50'),
    'r50-r18_imagenet': (IMAGENET, 'ResNet-50', 'ResNet-18'),
    'mobilenetv2_imagenet': (MOBILENET_V2, 'MobileNetV2', 'MobileNetV2'),
}


def count(module):
    return sum(parameter.numel() for parameter in module.parameters())


def test_every_recipe_is_in_the_table_and_short():
    assert {path.stem for path in FOLDER.glob('*.py')} == {f'dcm_{name}' for name in RECIPES}
    assert all(len(path.read_text().splitlines()) <= 10 for path in FOLDER.glob('*.py'))


def expected_facts(settings, dataset, *networks):
    facts = dict(lr=0.1, nesterov=False, momentum=0.9, type='DCMClassifier', weights=(1, 1, 1, 1), test_network='mean')
    images = 32 if dataset == 'imagenet' else settings['batch']
    data = dict(dataset=dict(cifar100='CIFAR100', imagenet='ImageNet')[dataset], images_per_gpu=images)
    return {
        **facts,
        **data,
        **settings,
        'networks': [PARAMETERS[name] for name in networks],
        'evaluator': 'PairAccuracy',
    }


def found_facts(cfg, model):
    crop = cfg.train_dataloader.dataset.pipeline[0]
    optimizer = dict(cfg.optim_wrapper.optimizer)
    drops = [(step.milestones, step.gamma) for step in cfg.param_scheduler if step.type == 'MultiStepLR']
    return dict(
        epochs=cfg.train_cfg.max_epochs,
        batch=cfg.auto_scale_lr.base_batch_size,
        images_per_gpu=cfg.train_dataloader.batch_size,
        lr=optimizer['lr'],
        momentum=optimizer['momentum'],
        weight_decay=optimizer['weight_decay'],
        nesterov=optimizer.get('nesterov', False),
        drops=drops[0] if drops else None,
        dataset=cfg.train_dataloader.dataset.type,
        mean=[round(value, 1) for value in cfg.data_preprocessor.mean],
        padding=crop.get('padding_mode', 'constant') if crop.type == 'RandomCrop' else None,
        type=type(model).__name__,
        weights=(model.cls_weight, model.ds_weight, model.same_weight, model.cross_weight),
        test_network=model.test_network,
        networks=[
            (type(network.backbone).__name__, count(network.backbone) + count(network.head), *map(count, branches))
            for network, branches in zip((model, model.peer), model.branches, strict=True)
        ],
        evaluator=cfg.val_evaluator.type if cfg.val_evaluator == cfg.test_evaluator else None,
    )


@pytest.fixture
def without_memory(monkeypatch):
    """Parameters on the meta device, also of mmpretrain's ResNets, which compute with numbers while they are built."""
    linspace = torch.linspace
    monkeypatch.setattr(torch, 'linspace', lambda *args: linspace(*args, device='cpu'))
    with torch.device('meta'):
        yield


@pytest.mark.parametrize('name', RECIPES)
def test_recipe(name, without_memory):
    settings, *networks = RECIPES[name]
    cfg = Config.fromfile(FOLDER / f'dcm_{name}.py')
    init_default_scope(cfg.default_scope)
    model = MODELS.build(dict(cfg.model, data_preprocessor=cfg.data_preprocessor))
    assert found_facts(cfg, model) == expected_facts(settings, name.split('_')[1], *networks)
