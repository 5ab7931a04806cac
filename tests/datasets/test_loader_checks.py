"""Classifiers learn from the built loader whether it gives what they compare."""

from __future__ import annotations

import itertools

import pytest
import tiny
from mmengine.registry import init_default_scope
from mmengine.runner import Runner

from mixskd_mm.datasets import check_batches
from mixskd_mm.errors import InputError

LOADERS = {
    'images': dict(),
    'pairs': dict(batch_sampler=dict(type='PairBatchSampler')),
    'groups': dict(batch_sampler=dict(type='GroupBatchSampler', num_partners=1)),
    'two views': dict(batch_sampler=dict(type='TwoViewBatchSampler')),
}


@pytest.fixture
def build(tmp_path):
    init_default_scope('mmpretrain')
    cfg = tiny.make_config(tmp_path, method='baseline').train_dataloader
    return lambda **options: Runner.build_dataloader(dict(cfg, **options), seed=0)


@pytest.mark.parametrize('contents', LOADERS)
def test_a_loader_is_taken_for_what_it_gives_and_refused_for_all_else(contents, build):
    loader = build(**LOADERS[contents])
    check_batches(loader, contents, 'Some')
    for other in LOADERS.keys() - {contents}:
        with pytest.raises(
            InputError, match=f'^train_dataloader gives batches of {contents}: Some expects {other}, so '
        ):
            check_batches(loader, other, 'Some')


def test_collated_views_are_views(build):
    loader = build(collate_fn=dict(type='collate_two_views'))
    check_batches(loader, 'two views', 'DDGSDClassifier')
    with pytest.raises(
        InputError, match=r'^train_dataloader gives batches of two views: CSKDClassifier expects pairs, so '
    ):
        check_batches(loader, 'pairs', 'CSKDClassifier')


@pytest.mark.parametrize('expected', LOADERS)
def test_pairs_of_views_are_refused(expected, build):
    loader = build(collate_fn=dict(type='collate_two_views'), **LOADERS['pairs'])
    with pytest.raises(
        InputError, match=f'^train_dataloader gives batches of pairs of two views: Some expects {expected}'
    ):
        check_batches(loader, expected, 'Some')


def test_the_message_says_what_to_write(build):
    with pytest.raises(InputError) as error:
        check_batches(build(), 'pairs', 'CSKDClassifier')
    assert str(error.value) == (
        'train_dataloader gives batches of images: CSKDClassifier expects pairs, so '
        "batch_sampler=dict(type='PairBatchSampler')"
    )


@pytest.mark.parametrize('contents', ['pairs', 'groups'])
@pytest.mark.parametrize('on_device', [False, True])
def test_built_loaders_give_whole_batches_of_one_class_per_anchor(contents, on_device, build, tmp_path):
    options = {}
    if on_device:
        dataset = tiny.make_config(tmp_path, method='baseline').train_dataloader.dataset
        dataset.pipeline = [dataset.pipeline[0], dataset.pipeline[-1]]
        dataset = dict(type='OnDeviceDataset', dataset=dataset, device='cpu')
        options = dict(dataset=dataset, collate_fn=dict(type='whole_batch'))
    loader = build(**options, **dict(LOADERS[contents], batch_size=24))
    # 24 anchors and as many partners, or 12 of each.
    sizes = dict(pairs=[48, 32], groups=[24, 24, 24, 8])[contents]
    batches = list(loader)
    assert len(loader) == len(batches) and [len(batch['inputs']) for batch in batches] == sizes
    for batch, size in zip(batches, sizes, strict=True):
        labels = [sample.gt_label.item() for sample in batch['data_samples']]
        assert labels[: size // 2] == labels[size // 2 :]
    anchors = [
        [sample.sample_idx for sample in batch['data_samples'][: len(batch['inputs']) // 2]] for batch in batches
    ]
    assert sorted(itertools.chain(*anchors)) == list(range(40))
    assert loader.batch_sampler.batch_size == 24
