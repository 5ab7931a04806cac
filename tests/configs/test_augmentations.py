"""The augmentations of Table 1, as their configs build them."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from facts import build, read, steps
from mmengine.dataset import Compose, default_collate
from mmengine.optim import build_optim_wrapper
from PIL import Image
from recipes import CIFAR_NETWORKS, METHODS
from torchvision.transforms import AutoAugment, AutoAugmentPolicy, RandAugment

MEAN = [round(255 * value) for value in (0.5071, 0.4867, 0.4408)]


def transforms(method):
    """The steps of the method's training pipeline; all networks have the same."""
    pipelines = [
        read(f'cifar100/{method}_{net}_cifar100.py').train_dataloader.dataset.pipeline for net in CIFAR_NETWORKS
    ]
    assert all(pipeline == pipelines[0] for pipeline in pipelines)
    return steps(read(f'cifar100/{method}_r18_cifar100.py'), 'train_dataloader')


@pytest.fixture
def image():
    return np.random.default_rng(0).integers(0, 256, (32, 32, 3), dtype=np.uint8)


@pytest.fixture(autouse=True)
def seed():
    np.random.seed(0)
    torch.manual_seed(0)


def filled(transform, number):
    """How many of 32 x 32 pixels ``transform`` fills with the mean colour, ``number`` times."""
    counts = []
    for _ in range(number):
        out = transform(dict(img=np.full((32, 32, 3), 7, np.uint8)))['img']
        changed = (out != 7).any(-1)
        assert (out[changed] == MEAN).all()
        counts.append(int(changed.sum()))
    return np.array(counts)


def test_cutout_removes_one_hole_of_8_by_8_from_each_image():
    counts = filled(transforms('cutout')[-1], 500)
    assert counts.max() == 64
    # The hole may be cut off at the border.
    assert counts.min() >= 16


def test_random_erasing_fills_2_to_40_percent_of_every_second_image():
    counts = filled(transforms('randomerasing')[-1], 2000)
    erased = counts[counts > 0]
    assert len(erased) / len(counts) == pytest.approx(0.5, abs=0.04)
    # Sides are whole pixels.
    assert 0.01 * 1024 < erased.min() < 0.03 * 1024 and 0.37 * 1024 < erased.max() < 0.42 * 1024
    # A uniform share of the image.
    assert erased.mean() / 1024 == pytest.approx((0.02 + 0.4) / 2, abs=0.02)


def test_autoaugment_has_the_cifar10_policy_after_crop_and_flip(image):
    reference = AutoAugment(AutoAugmentPolicy.CIFAR10)
    crop, flip, augment = transforms('autoaugment')
    assert (type(crop).__name__, type(flip).__name__) == ('RandomCrop', 'RandomFlip')
    changed = 0
    for seed in range(40):
        torch.manual_seed(seed)
        expected = np.asarray(reference(Image.fromarray(image)))
        torch.manual_seed(seed)
        assert np.array_equal(augment(dict(img=image))['img'], expected)
        changed += not np.array_equal(expected, image)
    assert changed > 20


def test_randaugment_is_torchvisions_with_2_operations_of_magnitude_9_before_crop_and_flip(image):
    reference = RandAugment(num_ops=2, magnitude=9)
    *augment, crop, flip = transforms('randaugment')
    assert (type(crop).__name__, type(flip).__name__) == ('RandomCrop', 'RandomFlip')
    changed = 0
    for seed in range(40):
        torch.manual_seed(seed)
        expected = np.asarray(reference(Image.fromarray(image)))
        torch.manual_seed(seed)
        results = dict(img=image)
        for step in augment:
            results = step(results)
        assert np.array_equal(results['img'], expected)
        changed += not np.array_equal(expected, image)
    assert changed > 20


def test_augmented_images_stay_rgb_and_writable(image):
    """Torch takes them as they are."""
    augment = transforms('autoaugment')[-1]
    out = augment(dict(img=image))['img']
    assert out.dtype == np.uint8 and out.shape == (32, 32, 3) and out.flags.writeable


# The self-distillation methods have tests of their own.
AUGMENTATIONS = [name for name, method in METHODS.items() if method.get('classifier') == 'ImageClassifier']


@pytest.mark.parametrize('method', [*AUGMENTATIONS, 'manifoldmixup', 'mixskd'])
def test_a_step_of_each_method_of_table_1(method, image):
    cfg, model = build(f'cifar100/{method}_wrn16-2_cifar100.py')
    pipeline = Compose(cfg.train_dataloader.dataset.pipeline)
    batch = default_collate([pipeline(dict(img=np.roll(image, i, 0), gt_label=7 * i)) for i in range(4)])
    optim_wrapper = build_optim_wrapper(model, cfg.optim_wrapper)
    before = model.head.fc.weight.clone()
    logs = model.train_step(batch, optim_wrapper)
    assert logs['loss'].isfinite()
    # 100 classes, a classifier that starts near 0.
    heads = 3 if method == 'mixskd' else 1
    cross_entropy = logs['loss_cls'] / (3 * heads) if method == 'mixskd' else logs['loss']
    assert cross_entropy.item() == pytest.approx(np.log(100), rel=0.1)
    assert not torch.equal(model.head.fc.weight, before)
