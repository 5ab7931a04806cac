"""Two views of an image: a batch of 2N, by MultiView and by a batch sampler; drawn independently."""

from __future__ import annotations

import pytest
import tiny
import torch
from mmengine.registry import init_default_scope
from mmengine.runner import Runner
from mmpretrain.structures import DataSample

from mixskd_mm.datasets import collate_two_views
from mixskd_mm.errors import InputError

CROP = [
    dict(type='RandomCrop', crop_size=16, padding=2),
    dict(type='RandomFlip', prob=0.5, direction='horizontal'),
]


def sample(label, *images):
    inputs = [torch.full((3, 2, 2), float(image)) for image in images]
    return dict(inputs=inputs, data_samples=DataSample(metainfo=dict(sample_idx=label)).set_gt_label(label))


def test_all_first_views_come_before_all_second_views():
    batch = collate_two_views([sample(0, 10, 20), sample(1, 11, 21), sample(2, 12, 22)])
    assert batch['inputs'].shape == (6, 3, 2, 2)
    assert batch['inputs'][:, 0, 0, 0].tolist() == [10, 11, 12, 20, 21, 22]
    assert [one.gt_label.item() for one in batch['data_samples']] == [0, 1, 2, 0, 1, 2]
    assert [one.sample_idx for one in batch['data_samples']] == [0, 1, 2, 0, 1, 2]
    # What is written into one view's sample is not in the other's.
    batch['data_samples'][0].set_gt_label(7)
    assert batch['data_samples'][3].gt_label.item() == 0


@pytest.mark.parametrize(
    ('wrong', 'found'),
    [
        (dict(inputs=torch.zeros(3, 2, 2), data_samples=DataSample()), 'one image'),
        (sample(0, 1, 2, 3), '3 views'),
    ],
)
def test_other_numbers_of_views_are_refused(wrong, found):
    with pytest.raises(
        InputError, match=rf"^collate_two_views got {found} per sample: expected dict\(type='MultiView'"
    ):
        collate_two_views([sample(0, 1, 2), wrong])


def multi_view(loader):
    loader.dataset.pipeline = [
        dict(type='LoadImageFromFile'),
        dict(type='MultiView', num_views=2, transforms=[CROP]),
        dict(type='PackInputs'),
    ]
    loader.collate_fn = dict(type='collate_two_views')


def twice(loader):
    loader.dataset.pipeline = [dict(type='LoadImageFromFile'), *CROP, dict(type='PackInputs')]
    loader.batch_sampler = dict(type='TwoViewBatchSampler')


def twice_on_device(loader):
    loader.dataset.pipeline = [dict(type='LoadImageFromFile'), dict(type='PackInputs')]
    loader.dataset = dict(type='OnDeviceDataset', dataset=loader.dataset, padding=2, flip_prob=0.5, device='cpu')
    loader.batch_sampler = dict(type='TwoViewBatchSampler')
    loader.collate_fn = dict(type='whole_batch')


@pytest.mark.parametrize('configure', [multi_view, twice, twice_on_device])
def test_a_loader_gives_2n_images_whose_halves_are_distorted_independently(configure, tmp_path):
    init_default_scope('mmpretrain')
    loader = tiny.make_config(tmp_path, method='baseline').train_dataloader
    configure(loader)
    torch.manual_seed(0)
    batches = list(Runner.build_dataloader(loader, seed=0))
    assert [len(batch['inputs']) for batch in batches] == [20] * 4
    same = seen = 0
    for batch in batches:
        images, samples = batch['inputs'], batch['data_samples']
        assert images.shape == (20, 3, 16, 16) and images.dtype == torch.uint8 and len(samples) == 20
        assert [one.sample_idx for one in samples[:10]] == [one.sample_idx for one in samples[10:]]
        assert [one.gt_label for one in samples[:10]] == [one.gt_label for one in samples[10:]]
        same += sum(torch.equal(one, other) for one, other in zip(images[:10], images[10:], strict=True))
        seen += len({one.sample_idx for one in samples})
    # 25 crops, mirrored or not: one pair in 50 is alike.
    assert seen == 40 and same <= 6


def test_a_training_takes_a_batch_of_views_as_any_other(tmp_path):
    cfg = tiny.make_config(tmp_path, {'train_cfg.max_epochs': 1}, method='baseline')
    multi_view(cfg.train_dataloader)
    runner = tiny.train(cfg)
    # Four iterations of ten images.
    assert runner.iter == 4 and 'The global batch' not in tiny.log_text(tmp_path)
