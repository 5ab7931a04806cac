"""Images on the device: the distribution of the per-image pipeline, the same labels, and a whole training."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
import tiny
import torch
from mmengine.config import Config
from mmengine.dataset import Compose
from mmengine.registry import init_default_scope
from mmengine.runner import Runner
from mmpretrain.datasets import BaseDataset
from mmpretrain.registry import DATASETS
from mmpretrain.structures import DataSample

from mixskd_mm.errors import InputError

N, SIZE, PAD = 6, 8, 2


class Arrays(BaseDataset):
    """Images of ``SIZE`` pixels whose values differ in each pixel and image."""

    def __init__(self, pipeline):
        super().__init__(ann_file='', pipeline=pipeline)

    def load_data_list(self):
        values = np.random.default_rng(0).permutation(N * SIZE * SIZE).reshape(N, SIZE, SIZE, 1) % 255 + 1
        return [dict(img=np.uint8(image.repeat(3, -1)), gt_label=i) for i, image in enumerate(values)]


@pytest.fixture(autouse=True)
def scope():
    init_default_scope('mmpretrain')


def build(**kwargs):
    dataset = Arrays([dict(type='PackInputs')])
    built = DATASETS.build(dict(type='OnDeviceDataset', dataset=dataset, device='cpu', **kwargs))
    built.full_init()
    return built


def outcomes(image):
    """Every crop of one padded image ``(3, H, W)``, mirrored and not, by its position."""
    padded = np.pad(image.numpy(), ((0, 0), (PAD, PAD), (PAD, PAD)))
    found = {}
    for y in range(2 * PAD + 1):
        for x in range(2 * PAD + 1):
            crop = padded[:, y : y + SIZE, x : x + SIZE]
            found[crop.tobytes()] = (y, x, False)
            found[np.ascontiguousarray(crop[:, :, ::-1]).tobytes()] = (y, x, True)
    assert len(found) == 2 * (2 * PAD + 1) ** 2
    return found


def chi_squared(counts, total, cells):
    """Of a uniform distribution; its mean is cells - 1, its standard deviation sqrt(2 (cells - 1))."""
    expected = total / cells
    return sum((counts[cell] - expected) ** 2 / expected for cell in counts) + expected * (cells - len(counts))


def test_crops_and_flips_have_the_distribution_of_the_pipeline():
    clean, augmented = build(), build(padding=PAD, flip_prob=0.5)
    image = clean[3]['inputs']
    known = outcomes(image)
    torch.manual_seed(0)
    np.random.seed(0)
    pipeline = Compose(
        [
            dict(type='RandomCrop', crop_size=SIZE, padding=PAD),
            dict(type='RandomFlip', prob=0.5, direction='horizontal'),
            dict(type='PackInputs'),
        ]
    )
    draws = 4000
    batches = [augmented.__getitems__([0, 3, 1])['inputs'][1].contiguous() for _ in range(draws)]
    singles = [pipeline(dict(img=image.permute(1, 2, 0).numpy().copy(), gt_label=3))['inputs'] for _ in range(draws)]
    # Any other crop would be a KeyError.
    counts = [Counter(known[crop.numpy().tobytes()] for crop in crops) for crops in (batches, singles)]
    cells = len(known)
    for count in counts:
        assert set(count) == set(known.values())
        # Five standard deviations.
        assert chi_squared(count, draws, cells) < cells - 1 + 5 * (2 * (cells - 1)) ** 0.5


def test_images_of_a_batch_are_augmented_independently():
    augmented, clean = build(padding=PAD, flip_prob=0.5), build()
    known = [outcomes(clean[i]['inputs']) for i in range(N)]
    torch.manual_seed(1)
    pairs, places = Counter(), Counter()
    for _ in range(1500):
        crops = augmented.__getitems__([2, 5])['inputs'].contiguous()
        (*place, flip), (*other_place, other_flip) = (
            known[i][crop.numpy().tobytes()] for i, crop in zip((2, 5), crops, strict=True)
        )
        pairs[flip, other_flip] += 1
        places[place == other_place] += 1
    # Four combinations of flips.
    assert len(pairs) == 4 and all(300 < count < 450 for count in pairs.values())
    # Both images are cropped at the same place once in 25 times.
    assert 30 < places[True] < 100


def test_without_augmentation_it_is_the_data_set():
    dataset, plain = build(), Arrays([dict(type='PackInputs')])
    batch = dataset.__getitems__([4, 0, 4])
    assert torch.equal(batch['inputs'], torch.stack([plain[i]['inputs'] for i in (4, 0, 4)]))
    assert batch['inputs'].dtype == torch.uint8
    assert [sample.gt_label.item() for sample in batch['data_samples']] == [4, 0, 4]
    assert len(dataset) == N and list(dataset.get_gt_labels()) == list(range(N))
    assert torch.equal(dataset[1]['inputs'], plain[1]['inputs'])


def test_samples_are_new_in_each_batch():
    """Preprocessors write into them, such as a mixed label, which the next epoch must not find."""
    dataset = build()
    sample = dataset.__getitems__([2])['data_samples'][0]
    sample.set_gt_score(torch.ones(N)).set_gt_label(5)
    again = dataset.__getitems__([2])['data_samples'][0]
    assert list(again.keys()) == ['gt_label'] and again.gt_label.item() == 2


def test_draws_depend_on_the_seed_alone():
    dataset = build(padding=PAD, flip_prob=0.5)
    one, other, third = (
        [torch.manual_seed(seed), dataset.__getitems__([0, 1, 2, 3])['inputs']][1] for seed in (5, 5, 6)
    )
    assert torch.equal(one, other) and not torch.equal(one, third)


@pytest.mark.parametrize('wrong', [dict(padding=-1), dict(padding=1.5), dict(flip_prob=1.1), dict(flip_prob='often')])
def test_refuses(wrong):
    (name, value), *_ = wrong.items()
    with pytest.raises(InputError, match=f'OnDeviceDataset {name}={value!r}: expected'):
        build(**wrong)


def test_refuses_images_of_several_sizes():
    dataset = Arrays(
        [
            lambda results: dict(
                inputs=torch.zeros(3, 4 + results['gt_label'] % 2, 4), data_samples=DataSample(gt_label=torch.zeros(1))
            )
        ]
    )
    with pytest.raises(InputError, match=r'images of the sizes \[\(3, 4, 4\), \(3, 5, 4\)\]: expected one size'):
        DATASETS.build(dict(type='OnDeviceDataset', dataset=dataset, device='cpu')).full_init()


def test_a_config_of_cifar100_takes_it(tmp_path):
    configs = tiny.ROOT / 'configs'
    path = tmp_path / 'fast.py'
    path.write_text(
        f"_base_ = ['{configs}/cifar100/mixskd_r18_cifar100.py', '{configs}/_base_/datasets/cifar100_on_device.py']\n"
        'train_dataloader = _base_.on_device.train_dataloader\n'
        'val_dataloader = _base_.on_device.test_dataloader\n'
        'test_dataloader = _base_.on_device.test_dataloader\n'
    )
    cfg = Config.fromfile(path)
    ordinary = Config.fromfile(configs / 'cifar100/mixskd_r18_cifar100.py')
    loader, dataset = cfg.train_dataloader, cfg.train_dataloader.dataset
    samplers = [dict(one.sampler) for one in (loader, ordinary.train_dataloader)]
    samplers[1].pop('_scope_')
    assert loader.batch_size == ordinary.train_dataloader.batch_size and samplers[0] == samplers[1]
    crop, flip, pack = ordinary.train_dataloader.dataset.pipeline
    assert (dataset.padding, dataset.flip_prob) == (crop.padding, flip.prob)
    # Nothing that a whole batch on a device cannot go through.
    assert loader.num_workers == 0 and not loader.get('pin_memory') and loader.collate_fn == dict(type='whole_batch')
    test = cfg.test_dataloader.dataset
    for one, other in [(dataset, ordinary.train_dataloader.dataset), (test, ordinary.test_dataloader.dataset)]:
        assert (one.dataset.type, one.dataset.split) == (other.type, other.split)
        assert one.dataset.data_root == other.data_root.rstrip('/')
        assert [step.type for step in one.dataset.pipeline] == [pack.type]
    assert 'padding' not in test and 'flip_prob' not in test


def test_a_training_resumes_with_the_same_batches(tmp_path):
    """Through the Runner, with its sampler and hooks."""

    def config(name, **options):
        cfg = tiny.make_config(tmp_path / name, {'train_cfg.max_epochs': 3, 'param_scheduler.0.end': 3, **options})
        for key in ('train_dataloader', 'test_dataloader'):
            loader = cfg[key]
            pipeline = [step for step in loader.dataset.pipeline if not step.type.startswith('Random')]
            augmentation = dict(padding=2, flip_prob=0.5) if key == 'train_dataloader' else {}
            loader.dataset = dict(
                type='OnDeviceDataset', dataset={**loader.dataset, 'pipeline': pipeline}, device='cpu', **augmentation
            )
            loader.update(num_workers=0, collate_fn=dict(type='whole_batch'), pin_memory=False)
        cfg.val_dataloader = cfg.test_dataloader
        return cfg

    whole = tiny.train(config('whole'))
    tiny.train(config('cut', **{'train_cfg.max_epochs': 2}))
    rest = config('cut')
    rest.resume = True
    resumed = tiny.train(rest)
    assert isinstance(whole, Runner) and whole.train_dataloader.dataset.images.shape == (40, 20, 20, 3)
    tiny.assert_same_state(whole.model.state_dict(), resumed.model.state_dict())
    assert whole.val_loop.run()['accuracy/top1'] == resumed.val_loop.run()['accuracy/top1']
