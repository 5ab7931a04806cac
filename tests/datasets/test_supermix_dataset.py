"""Mixed images as a data set, alone and beside the natural ones."""

import json

import cv2
import numpy as np
import pytest
import torch
from mmengine.dataset import default_collate
from mmengine.registry import init_default_scope
from mmpretrain.datasets import BaseDataset
from mmpretrain.registry import DATA_SAMPLERS, DATASETS

import mixskd_mm  # noqa: F401  (registers everything)
from mixskd_mm.datasets import SuperMixDataset
from mixskd_mm.errors import InputError


@DATASETS.register_module()
class InMemory(BaseDataset):
    """Grey images that the data set holds, each of its own brightness."""

    def __init__(self, number, classes=('a', 'b', 'c'), **kwargs):
        self.number = number
        super().__init__(ann_file='', metainfo=dict(classes=classes), **kwargs)

    def load_data_list(self):
        return [dict(img=np.full((4, 4, 3), i, np.uint8), gt_label=i % 3) for i in range(self.number)]


@pytest.fixture(autouse=True)
def scope():
    init_default_scope('mmpretrain')


def image(i):
    """Blue, green and red differ."""
    return np.stack([np.full((4, 4), 100 + i), np.full((4, 4), 50), np.arange(16).reshape(4, 4)], -1).astype(np.uint8)


@pytest.fixture
def make_folder(tmp_path):
    """Function: a folder of mixed images, as tools/supermix.py leaves it."""

    def make(number=5, classes=('a', 'b', 'c'), channel_order='bgr'):
        settings = dict(num_classes=3, class_names=classes and list(classes), channel_order=channel_order)
        (tmp_path / 'settings.json').write_text(json.dumps(dict(settings=settings, source={})))
        lines = []
        for i in range(number):
            cv2.imwrite(str(tmp_path / f'{i}.png'), image(i))
            record = dict(image=f'{i}.png', classes=[i % 3, 2], weights=[0.25, 0.75], supervisor=(i + 1) % 3)
            lines.append(json.dumps(record) + '\n')
        (tmp_path / 'supermix.jsonl').write_text(''.join(lines))
        return str(tmp_path)

    return make


PACK = [dict(type='PackInputs')]


@pytest.mark.parametrize('order', ['bgr', 'rgb'])
def test_images_come_as_they_were_written_in_the_order_of_their_sources(order, make_folder):
    dataset = SuperMixDataset(make_folder(channel_order=order), pipeline=PACK)
    found = dataset[3]['inputs'].permute(1, 2, 0).numpy()
    assert np.array_equal(found, image(3) if order == 'bgr' else image(3)[..., ::-1])
    assert dataset.metainfo['classes'] == ['a', 'b', 'c'] and len(dataset) == 5
    assert dataset[3]['data_samples'].img_path.endswith('3.png')


def test_the_pipeline_crops_and_flips(make_folder):
    crop = [dict(type='RandomCrop', crop_size=4, padding=2), dict(type='RandomFlip', prob=1.0), *PACK]
    sample = SuperMixDataset(make_folder(), pipeline=crop)[0]
    assert sample['inputs'].shape == (3, 4, 4) and sample['data_samples'].flip


def test_labels_are_the_supervisors_or_also_those_of_the_sources(make_folder):
    folder = make_folder()
    hard = SuperMixDataset(folder, pipeline=PACK)
    assert hard.get_gt_labels().tolist() == [1, 2, 0, 1, 2]
    assert 'gt_score' not in hard[0]['data_samples']
    soft = SuperMixDataset(folder, labels='soft', pipeline=PACK)
    assert soft.get_gt_labels().tolist() == [1, 2, 0, 1, 2]
    scores = [soft[i]['data_samples'].gt_score.tolist() for i in range(3)]
    # The third image has sources of one class.
    assert scores == [[0.25, 0, 0.75], [0, 0.25, 0.75], [0, 0, 1]]


def both(folder, number=7, **kwargs):
    mixed = dict(type='SuperMixDataset', data_root=folder, pipeline=PACK)
    natural = dict(type='InMemory', number=number, pipeline=PACK, **kwargs)
    dataset = DATASETS.build(dict(type='NaturalAndMixedDataset', datasets=[natural, mixed]))
    dataset.full_init()
    return dataset


def test_natural_images_come_first_and_count(make_folder):
    dataset = both(make_folder())
    assert len(dataset) == 7 and list(dataset.mixed) == [7, 8, 9, 10, 11]
    assert torch.equal(dataset[6]['inputs'], torch.full((3, 4, 4), 6, dtype=torch.uint8))
    assert [dataset.get_data_info(i)['gt_label'] for i in (0, 6, 7, 11)] == [0, 0, 1, 2]
    assert dataset[11]['data_samples'].img_path.endswith('4.png')
    assert dataset.metainfo['classes'] == ('a', 'b', 'c')


def batches(dataset, epoch=0, **kwargs):
    sampler = DATA_SAMPLERS.build(dict(type='DefaultSampler', dataset=dataset, seed=0, shuffle=True))
    sampler.set_epoch(epoch)
    return list(DATA_SAMPLERS.build(dict(type='NaturalMixedBatchSampler', sampler=sampler, **kwargs)))


def test_a_batch_has_as_many_mixed_images_as_natural_ones(make_folder):
    dataset = both(make_folder())
    epoch = batches(dataset, batch_size=3)
    assert [len(batch) for batch in epoch] == [6, 6, 2]
    assert [len(batch) for batch in batches(dataset, batch_size=3, drop_last=True)] == [6, 6]
    assert sorted(i for batch in epoch for i in batch[: len(batch) // 2]) == list(range(7))
    for batch in epoch:
        mixed = batch[len(batch) // 2 :]
        assert set(mixed) <= set(dataset.mixed) and len(set(mixed)) == len(mixed)
    assert len(default_collate([dataset[i] for i in epoch[0]])['data_samples']) == 6
    drawn = {
        i for number in range(20) for batch in batches(dataset, number, batch_size=3) for i in batch[len(batch) // 2 :]
    }
    assert drawn == set(dataset.mixed)


def test_few_mixed_images_repeat(make_folder):
    (batch,) = batches(both(make_folder(number=2)), batch_size=7)
    assert set(batch[7:]) <= {7, 8} and len(batch) == 14


def test_what_does_not_fit_ends_in_one_line(make_folder, tmp_path):
    def line(make, *args, **kwargs):
        with pytest.raises(InputError) as error:
            make(*args, **kwargs)
        return str(error.value)

    assert line(SuperMixDataset, 'nowhere') == (
        'SuperMixDataset: nowhere has no settings.json: expected a folder that tools/supermix.py filled'
    )
    folder = make_folder()
    assert line(SuperMixDataset, folder, labels='hard') == (
        "SuperMixDataset labels='hard': expected one of 'supervisor', 'soft'"
    )
    assert line(both, folder, classes=('a', 'b')) == (
        "NaturalAndMixedDataset: the mixed images have 3 classes, from 'a', and the natural ones 2, from 'a': expected the "
        'same'
    )
    natural = DATASETS.build(dict(type='InMemory', number=3))
    assert line(batches, natural, batch_size=3) == (
        'NaturalMixedBatchSampler got a InMemory without mixed images: expected '
        "dataset=dict(type='NaturalAndMixedDataset', datasets=[natural, mixed])"
    )
    one = dict(type='NaturalAndMixedDataset', datasets=[dict(type='InMemory', number=3)])
    assert line(DATASETS.build, one) == (
        'NaturalAndMixedDataset got 1 datasets: expected two, of natural and of mixed images'
    )
    (tmp_path / '2.png').unlink()
    assert line(SuperMixDataset(folder, pipeline=PACK).__getitem__, 2) == (
        f'{tmp_path}/2.png cannot be read: expected the image that tools/supermix.py wrote'
    )
    (tmp_path / 'supermix.jsonl').unlink()
    assert line(SuperMixDataset, folder) == (
        f'SuperMixDataset: {folder} has no supermix.jsonl: expected a folder that tools/supermix.py filled'
    )
