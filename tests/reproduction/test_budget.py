"""Scaled-down recipes keep the shape of their schedule."""

from __future__ import annotations

import math

import pytest
import tiny
from mmengine.config import Config
from mmpretrain.registry import DATASETS

from mixskd_mm.errors import InputError
from mixskd_mm.reproduction.budget import Budget

CONFIGS = tiny.ROOT / 'configs'


def scaled(name, *args):
    cfg = Config.fromfile(CONFIGS / name)
    Budget.parse(*args).apply(cfg)
    return cfg


@pytest.mark.parametrize(
    'name', ['cifar100/mixskd_r18_cifar100.py', 'mixskd_r50_imagenet.py', 'fine_grained/baseline_r18_cub.py']
)
def test_full_changes_nothing(name):
    original, cfg = Config.fromfile(CONFIGS / name), scaled(name, 'full')
    assert cfg.train_cfg.max_epochs == original.train_cfg.max_epochs
    for one, other in zip(cfg.param_scheduler, original.param_scheduler, strict=True):
        assert {**one} == pytest.approx({**other}) if 'milestones' not in one else {**one} == {**other}
    assert cfg.train_dataloader == original.train_dataloader


def test_a_tenth_of_the_epochs():
    cfg = scaled('cifar100/mixskd_r18_cifar100.py', '0.1')
    warm_up, decay = cfg.param_scheduler
    assert cfg.train_cfg.max_epochs == 20
    # 5, 105 and 155 of 205.
    assert (warm_up.begin, warm_up.end) == (0, 1) and decay.milestones == [10, 16]
    # lr of iteration t: 0.1 (t + 1) / 391
    assert warm_up.start_factor == pytest.approx(1 / 391)
    # 5 of 205
    assert cfg.train_cfg.val_interval == cfg.default_hooks.checkpoint.interval == 1


def test_a_subset_shortens_the_warm_up_too():
    cfg = scaled('cifar100/baseline_r18_cifar100.py', '0.2', 25)
    warm_up, decay = cfg.param_scheduler
    assert cfg.train_cfg.max_epochs == 41 and warm_up.end == 1 and decay.milestones == [21, 31]
    # 2,000 images are 16 batches of 128.
    assert warm_up.start_factor == pytest.approx(1 / math.ceil(2000 / 128))


def test_cosine_ends_with_the_training():
    warm_up, cosine = (cfg := scaled('mixskd_r50_imagenet.py', '0.1')).param_scheduler
    assert cfg.train_cfg.max_epochs == cosine.end == 30
    assert warm_up.end == cosine.begin == 1 and cosine.T_max == 29


def test_iterations_of_a_segmenter():
    name = 'segmentation/deeplabv3-paper_r50-d8-baseline-pre_8xb2-40k_voc12aug-512x512.py'
    cfg = scaled(name, '0.01')
    assert cfg.train_cfg.max_iters == 400
    assert cfg.param_scheduler[0].end == 400


def test_the_subset_is_that_part_of_the_images_always_the_same():
    root = tiny.digits()
    cfg = Config.fromfile(CONFIGS / 'quickstart/baseline_r18_digits.py')
    cfg.train_dataloader.dataset.data_root = str(root)
    Budget(subset=4).apply(cfg)
    one, other = (DATASETS.build(cfg.train_dataloader.dataset) for _ in range(2))
    whole = DATASETS.build(dict(cfg.train_dataloader.dataset.dataset))
    paths = [one.get_data_info(i)['img_path'] for i in range(len(one))]
    assert len(whole) == 40 and len(one) == 10
    assert paths == [other.get_data_info(i)['img_path'] for i in range(len(other))]
    assert set(paths) < {whole.get_data_info(i)['img_path'] for i in range(len(whole))}
    # The images lie by class on disk.
    assert len({one.get_data_info(i)['gt_label'] for i in range(len(one))}) > 3


@pytest.mark.parametrize('share', ['0', '-1', '1.5', 'nan', 'half'])
def test_refuses_other_shares(share):
    with pytest.raises(InputError, match=f'--budget {share}: expected'):
        Budget.parse(share)


def test_says_what_it_is():
    assert str(Budget()) == 'the full recipe'
    assert str(Budget(0.1)) == '10 % of the epochs'
    assert str(Budget(0.25, 8)) == '25 % of the epochs, 1/8 of the training images'


def test_a_tiny_budget_of_a_cosine_still_builds():
    cosine = scaled('mixskd_r50_imagenet.py', '0.003').param_scheduler[1]
    assert (cosine.begin, cosine.end, cosine.T_max) == (1, 2, 1)
