"""Schedules and data of DCM, against its supplement (sections 1.1 and 1.2)."""

import math

import mmpretrain.datasets  # noqa: F401  (registers the transforms)
import numpy as np
import pytest
import torch
from mmengine.config import Config
from mmengine.dataset import Compose
from mmengine.registry import PARAM_SCHEDULERS, init_default_scope
from tiny import ROOT

BASE = ROOT / 'configs' / '_base_'


def steps(divisor, *epochs):
    return lambda epoch: 0.1 / divisor ** sum(epoch >= e for e in epochs)


# Epochs, batch, weight decay, Nesterov, learning rate of an epoch, 0-based.
SCHEDULES = {
    'dcm_resnet_200e': (200, 64, 1e-4, False, steps(10, 60, 120, 180)),
    'dcm_densenet_300e': (300, 64, 1e-4, True, steps(10, 150, 225)),
    'dcm_wrn_200e': (200, 128, 5e-4, False, steps(5, 60, 120, 160)),
    'dcm_imagenet_100e': (100, 256, 1e-4, False, steps(10, 30, 60, 90)),
    'dcm_mobilenetv2_150e': (150, 256, 4e-5, False, lambda e: 0.025 * (1 + math.cos(math.pi * e / 150))),
}


@pytest.mark.parametrize('name', SCHEDULES)
def test_schedule(name):
    epochs, batch, weight_decay, nesterov, expected = SCHEDULES[name]
    cfg = Config.fromfile(BASE / 'schedules' / f'{name}.py')
    settings = dict(cfg.optim_wrapper.optimizer)
    optimizer = getattr(torch.optim, settings.pop('type'))([torch.nn.Parameter(torch.zeros(1))], **settings)
    (group,) = optimizer.param_groups
    assert (group['momentum'], group['weight_decay'], group['nesterov']) == (0.9, weight_decay, nesterov)
    assert (cfg.train_cfg.max_epochs, cfg.auto_scale_lr.base_batch_size) == (epochs, batch)

    (config,) = cfg.param_scheduler
    iterations = 10 if config.pop('convert_to_iter_based', False) else 1
    kind = PARAM_SCHEDULERS.get(config.type)
    if iterations > 1:
        del config['type']
        scheduler = kind.build_iter_from_epoch(optimizer=optimizer, epoch_length=iterations, **config)
    else:
        scheduler = PARAM_SCHEDULERS.build(dict(config, optimizer=optimizer))
    for epoch in range(epochs):
        assert group['lr'] == pytest.approx(expected(epoch)), epoch
        optimizer.step()
        for _ in range(iterations):
            scheduler.step()


def test_data():
    cfg = Config.fromfile(BASE / 'datasets' / 'cifar100_dcm.py')
    assert (cfg.data_preprocessor.mean, cfg.data_preprocessor.std) == ([125.3, 123.0, 113.9], [63.0, 62.1, 66.7])
    assert (cfg.train_dataloader.batch_size, cfg.train_dataloader.dataset.type) == (128, 'CIFAR100')
    init_default_scope('mmpretrain')
    *augment, pack = Compose(cfg.train_dataloader.dataset.pipeline).transforms
    assert type(pack).__name__ == 'PackInputs'
    # Each pixel says where it was.
    image = np.stack(np.broadcast_arrays(*np.ogrid[1:33, 1:33], np.uint8(7)), axis=2).astype(np.uint8)
    reflected = np.pad(image, ((4, 4), (4, 4), (0, 0)), mode='reflect')
    windows = {reflected[y : y + 32, x : x + 32].tobytes(): (y, x) for y in range(9) for x in range(9)}
    np.random.seed(0)
    drawn, flipped = set(), 0
    for _ in range(300):
        output = Compose(augment)(dict(img=image))['img']
        assert output.shape == image.shape
        if output.tobytes() not in windows:
            output, flipped = output[:, ::-1], flipped + 1
        assert output.tobytes() in windows
        drawn.add(windows[output.tobytes()])
    assert 100 < flipped < 200
    assert {y for y, _ in drawn} == {x for _, x in drawn} == set(range(9))
    assert [step.type for step in cfg.val_dataloader.dataset.pipeline] == ['PackInputs']
