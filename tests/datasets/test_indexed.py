"""Each sample's index in the training set, through data sets and wrappers."""

from __future__ import annotations

import pickle

import numpy as np
import pytest
import tiny
from mmengine.registry import init_default_scope
from mmpretrain.registry import DATASETS

from mixskd_mm.datasets import check_sample_indices
from mixskd_mm.errors import InputError

PIPELINE = [dict(type='LoadImageFromFile'), dict(type='PackInputs')]


@pytest.fixture(autouse=True)
def scope():
    init_default_scope('mmpretrain')


def digits(**kwargs):
    """40 digits, four per class."""
    return dict(
        type='CustomDataset',
        data_root=str(tiny.digits()),
        data_prefix='train',
        **{'pipeline': PIPELINE, **kwargs},
    )


def cifar100(root):
    """Five images in CIFAR-100's format."""
    folder = root / 'cifar-100-python'
    folder.mkdir()
    data = dict(data=np.zeros((5, 3072), np.uint8), fine_labels=[3, 1, 4, 1, 5])
    (folder / 'train').write_bytes(pickle.dumps(data))
    (folder / 'meta').write_bytes(pickle.dumps(dict(fine_label_names=[str(i) for i in range(100)])))
    return dict(type='CIFAR100', data_root=str(root), split='train', pipeline=[dict(type='PackInputs')])


def build(cfg):
    dataset = DATASETS.build(cfg)
    dataset.full_init()
    return dataset


def indices(dataset):
    return [dataset[i]['data_samples'].get('sample_idx') for i in range(len(dataset))]


def fold(inner):
    return dict(type='KFoldDataset', dataset=inner, fold=1, num_splits=5, seed=0)


def on_device(inner):
    return dict(type='OnDeviceDataset', dataset=inner, device='cpu')


def wrapped(kind):
    options = {
        'ConcatDataset': dict(datasets=[digits(), digits()]),
        'RepeatDataset': dict(dataset=digits(), times=2),
        # Classes are a tenth of the images: sqrt(0.4 / 0.1) times.
        'ClassBalancedDataset': dict(dataset=digits(), oversample_thr=0.4),
    }
    return dict(type=kind, **options[kind])


@pytest.mark.parametrize(
    ('cfg', 'length'),
    [(digits(), 40), (digits(indices=[7, 3, 9]), 3), (fold(digits()), 32), (on_device(fold(digits())), 32)],
    ids=['folder', 'subset', 'fold', 'fold on device'],
)
def test_samples_say_their_index_in_the_training_set(cfg, length):
    dataset = build(cfg)
    assert indices(dataset) == list(range(length))
    check_sample_indices(dataset, 'PSKDClassifier')


def test_samples_of_cifar100_say_their_index(tmp_path, monkeypatch):
    inner = cifar100(tmp_path)
    monkeypatch.setattr('mmpretrain.datasets.cifar.CIFAR10._check_integrity', lambda self: True)
    for cfg in (inner, on_device(inner)):
        dataset = build(cfg)
        assert indices(dataset) == list(range(5))
        assert [dataset[i]['data_samples'].gt_label.item() for i in range(5)] == [3, 1, 4, 1, 5]


def test_batches_on_the_device_say_their_indices():
    batch = build(on_device(digits())).__getitems__([5, 2, 5])
    assert [sample.sample_idx for sample in batch['data_samples']] == [5, 2, 5]


@pytest.mark.parametrize('kind', ['ConcatDataset', 'RepeatDataset', 'ClassBalancedDataset'])
def test_wrappers_that_give_an_index_twice_are_refused_until_they_are_wrapped(kind):
    plain = build(wrapped(kind))
    assert len(plain) == 80 and len(set(indices(plain))) == 40
    with pytest.raises(InputError) as error:
        check_sample_indices(plain, 'PSKDClassifier')
    assert str(error.value) == (
        f"{kind} gives sample_idx=39 for image 79 of 80: PSKDClassifier expects each image's own index, so "
        "train_dataloader.dataset=dict(type='IndexedDataset', dataset=...)"
    )
    dataset = build(dict(type='IndexedDataset', dataset=wrapped(kind)))
    assert indices(dataset) == list(range(80))
    check_sample_indices(dataset, 'PSKDClassifier')
    assert dataset.metainfo == plain.metainfo and dataset.metainfo['classes'][3] == '3'
    # Nothing else changes.
    for i in (0, 41, 79):
        packed, expected = dataset[i], plain[i]
        assert bool((packed['inputs'] == expected['inputs']).all())
        assert packed['data_samples'].img_path == expected['data_samples'].img_path
        assert dataset.get_data_info(i) == dict(plain.get_data_info(i), sample_idx=i)


def test_samples_without_an_index_are_refused():
    pipeline = [PIPELINE[0], dict(type='PackInputs', meta_keys=('img_path',))]
    with pytest.raises(InputError, match=r'^CustomDataset gives sample_idx=None for image 0 of 40: PSKDClassifier'):
        check_sample_indices(build(digits(pipeline=pipeline)), 'PSKDClassifier')
