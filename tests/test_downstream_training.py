"""Cascade R-CNN and both DeepLabV3s really train: through the Runner, from a MixSKD checkpoint, on tiny real data."""

import copy
import math

import downstream
import pytest
import tiny
import torch
from mmengine.registry import DefaultScope

SEGMENTATION = downstream.ROOT / 'configs' / 'segmentation'
DETECTION = downstream.ROOT / 'configs' / 'detection' / 'cascade-rcnn_r50-mixskd-pre_fpn_1x_coco.py'


@pytest.fixture(autouse=True)
def restore_scope():
    """The default scope is global: leave it as it was."""
    instances = dict(DefaultScope._instance_dict)
    yield
    DefaultScope._instance_dict.clear()
    DefaultScope._instance_dict.update(instances)


def losses_on_one_batch(runner, iterations, lr):
    """Further iterations of the runner's model on its first training batch, without dropout."""
    batch = next(iter(runner.train_dataloader))
    for module in runner.model.modules():
        if isinstance(module, torch.nn.Dropout | torch.nn.Dropout2d):
            module.p = 0.0
    for group in runner.optim_wrapper.param_groups:
        group['lr'] = lr
    runner.model.train()
    return [
        runner.model.train_step(copy.deepcopy(batch), runner.optim_wrapper)['loss'].item() for _ in range(iterations)
    ]


def check_run(runner, work_dir, iterations, parts):
    """What a finished run left: all terms finite in each iteration, the whole backbone taken and trained, a checkpoint."""
    history = tiny.histories(runner.message_hub)
    for name in parts:
        values = history[f'train/{name}']
        assert len(values) == iterations and all(map(math.isfinite, values)), name
    log = tiny.log_text(work_dir)
    assert 'took 318 of its 318 tensors' in log
    start = torch.load(downstream.resnet50())['state_dict']
    (saved,) = work_dir.glob('*.pth')
    state = tiny.load(saved)['state_dict']
    assert not state['backbone.layer4.2.conv3.weight'].equal(start['backbone.layer4.2.conv3.weight'])
    assert not any('SyncBatchNorm' in type(module).__name__ for module in runner.model.modules())
    return state, start


def test_cascade_rcnn(tmp_path):
    work_dir = tmp_path / 'cascade'
    cfg = downstream.load_config(DETECTION, work_dir, crop=96)
    cfg.merge_from_dict(
        {
            'model.neck.out_channels': 32,
            'model.rpn_head.in_channels': 32,
            'model.rpn_head.feat_channels': 32,
            'model.roi_head.bbox_roi_extractor.out_channels': 32,
            'model.train_cfg.rpn_proposal.max_per_img': 64,
            'model.test_cfg.rpn.max_per_img': 64,
            'train_cfg.max_epochs': 1,
            'default_hooks.visualization.draw': False,
        }
    )
    for head in cfg.model.roi_head.bbox_head:
        head.update(in_channels=32, fc_out_channels=64)
    for part in cfg.model.train_cfg.rcnn:
        part.sampler.num = 32
    # Two images of one shape are a batch, however often they are repeated.
    cfg.train_dataloader.dataset = dict(type='RepeatDataset', times=2, dataset=cfg.train_dataloader.dataset)
    runner = tiny.train(cfg)
    terms = ['loss', 'loss_rpn_cls', 'loss_rpn_bbox', 's0.loss_cls', 's1.loss_bbox', 's2.loss_cls']
    state, start = check_run(runner, work_dir, 2, terms)
    # Frozen in the recipe: the stem and the first stage, and all statistics.
    for name in ('conv1.weight', 'layer1.2.conv3.weight', 'bn1.running_mean', 'layer4.2.bn3.running_var'):
        assert state[f'backbone.{name}'].equal(start[f'backbone.{name}']), name
    losses = losses_on_one_batch(runner, 6, lr=3e-4)
    assert all(map(math.isfinite, losses))
    # Boxes and anchors are sampled anew in each iteration.
    assert sum(losses[-2:]) / 2 < 0.9 * losses[0], losses


@pytest.mark.parametrize('data', ['voc12aug', 'ade20k', 'coco-stuff164k'])
@pytest.mark.parametrize('kind', ['deeplabv3', 'deeplabv3-paper'])
def test_deeplabv3(kind, data, tmp_path):
    metrics = {'mIoU', 'aAcc', 'mAcc'} | ({'mIoU_all', 'mIoU_present'} if kind == 'deeplabv3-paper' else set())
    work_dir = tmp_path / f'{kind}_{data}'
    path = SEGMENTATION / f'{kind}_r50-d8-mixskd-pre_8xb2-40k_{data}-512x512.py'
    cfg = downstream.load_config(path, work_dir)
    cfg.merge_from_dict(
        {
            'train_cfg.max_iters': 2,
            'train_cfg.val_interval': 2,
            'model.decode_head.channels': 32,
            'model.auxiliary_head.channels': 32,
            'default_hooks.visualization.draw': False,
        }
    )
    runner = tiny.train(cfg)
    state, start = check_run(runner, work_dir, 2, ['loss', 'decode.loss_ce', 'aux.loss_ce'])
    # Nothing is frozen in this recipe.
    for name in ('conv1.weight', 'bn1.running_mean', 'layer4.2.bn3.running_var'):
        assert not state[f'backbone.{name}'].equal(start[f'backbone.{name}']), name
    logged = runner.message_hub.log_scalars
    assert {name.removeprefix('val/') for name in logged if name.startswith('val/')} - {'data_time', 'time'} == metrics
    for name in metrics - {'mAcc'}:
        assert 0 <= logged[f'val/{name}'].current() <= 100, name
    losses = losses_on_one_batch(runner, 4, lr=0.02)
    assert all(map(math.isfinite, losses))
    assert losses[-1] < 0.9 * losses[0], losses
