"""Corrupted images: which image of an archive belongs to which, what the library gets, and the means."""

import cv2
import numpy as np
import pytest
import torch
from mmengine.dataset import BaseDataset
from mmpretrain.registry import TRANSFORMS
from torch.utils.data import Subset

from mixskd_mm.errors import InputError
from mixskd_mm.evaluation import corruption_errors, mean_corruption_error, relative_to_alexnet
from mixskd_mm.evaluation.corruptions import ALEXNET, CORRUPTIONS, CifarC, Corrupted, ImageNetC


class Listed(BaseDataset):
    """The data set of a list of annotations."""

    def __init__(self, annotations, *steps):
        self.annotations = list(annotations)
        super().__init__(
            pipeline=[TRANSFORMS.build(dict(type=step)) if isinstance(step, str) else step for step in steps]
        )

    def load_data_list(self):
        return list(self.annotations)


@pytest.fixture
def cifar(tmp_path):
    """Four clean images, and an archive whose pixels say which image and severity they are: 10 x severity + index."""
    values = np.array([[10 * severity + i for i in range(4)] for severity in range(1, 6)], dtype=np.uint8).reshape(
        -1, 1, 1, 1
    )
    np.save(tmp_path / 'fog.npy', np.broadcast_to(values, (20, 32, 32, 3)))
    np.save(tmp_path / 'labels.npy', np.tile([0, 1, 2, 1], 5))
    clean = Listed([dict(img=np.zeros((32, 32, 3), np.uint8), gt_label=label) for label in (0, 1, 2, 1)], 'PackInputs')
    return clean, tmp_path


@pytest.mark.parametrize('severity', [1, 5])
def test_cifar_c_has_one_severity_after_another(cifar, severity):
    clean, folder = cifar
    # Some of the images, as with --images.
    corrupted = CifarC(Subset(clean, [1, 3]), str(folder), 'fog', severity)
    assert len(corrupted) == 2
    found = [
        (int(sample['inputs'].unique()), int(sample['data_samples'].gt_label))
        for sample in (corrupted[0], corrupted[1])
    ]
    assert found == [(10 * severity + 1, 1), (10 * severity + 3, 1)]
    assert corrupted[0]['inputs'].shape == (3, 32, 32) and corrupted[0]['inputs'].dtype == torch.uint8


def test_cifar_c_of_other_test_data(cifar):
    clean, folder = cifar
    np.save(folder / 'labels.npy', np.tile([0, 1, 2, 2], 5))
    CifarC(Subset(clean, [0, 1]), str(folder), 'fog', 1)
    with pytest.raises(InputError, match=r'labels\.npy has other labels than the test data'):
        CifarC(Subset(clean, [3]), str(folder), 'fog', 1)
    with pytest.raises(InputError, match=r'expected 5 x 3 images and labels, as the test data has 3'):
        CifarC(Subset(Listed(clean.annotations[:3], 'PackInputs'), [0]), str(folder), 'fog', 1)
    with pytest.raises(InputError, match=r'snow\.npy does not exist: expected an array of CIFAR-C'):
        CifarC(Subset(clean, [0]), str(folder), 'snow', 1)
    (folder / 'snow.npy').write_bytes(b'damaged')
    with pytest.raises(InputError, match=r'snow\.npy cannot be read'):
        CifarC(Subset(clean, [0]), str(folder), 'snow', 1)


def test_imagenet_c_replaces_the_file_and_does_not_resize(tmp_path):
    for place, value in (('val', 10), ('c/fog/3', 77)):
        (tmp_path / place / 'n01').mkdir(parents=True)
        cv2.imwrite(str(tmp_path / place / 'n01' / 'a.png'), np.full((20, 30, 3), value, np.uint8))
    resize = TRANSFORMS.build(dict(type='ResizeEdge', scale=8))
    annotations = [dict(img_path=str(tmp_path / 'val/n01/a.png'), gt_label=4)]
    clean = Subset(Listed(annotations, 'LoadImageFromFile', resize, 'PackInputs'), [0])
    assert clean[0]['inputs'].shape == (3, 8, 12)
    sample = ImageNetC(clean, str(tmp_path / 'c'), 'fog', 3)[0]
    assert sample['inputs'].shape == (3, 20, 30) and sample['inputs'].unique().tolist() == [77]
    assert sample['data_samples'].gt_label == 4 and sample['data_samples'].img_path.endswith('fog/3/n01/a.png')
    with pytest.raises(InputError, match=r'fog/2/n01/a\.png does not exist: expected ImageNet-C'):
        ImageNetC(clean, str(tmp_path / 'c'), 'fog', 2)


@pytest.fixture
def clean():
    generator = torch.Generator().manual_seed(0)
    return [dict(inputs=torch.randint(256, (3, 32, 40), generator=generator, dtype=torch.uint8)) for _ in range(2)]


@pytest.mark.parametrize('corruption', CORRUPTIONS)
def test_the_library_gives_the_same_in_every_run(clean, corruption):
    before = np.random.get_state()[1].tolist()
    one, other = (Corrupted(clean, corruption, 3, bgr=False)[1]['inputs'] for _ in range(2))
    assert torch.equal(one, other) and one.shape == (3, 32, 40) and one.dtype == torch.uint8
    assert not torch.equal(one, clean[1]['inputs'])
    assert np.random.get_state()[1].tolist() == before


def test_the_library_gets_rgb(clean):
    """Its brightness, in HSV, does not care; JPEG does, whose luma weighs green and red above blue."""
    bgr = [dict(inputs=sample['inputs'].flip(0)) for sample in clean]
    one = Corrupted(clean, 'jpeg_compression', 5, bgr=False)[0]['inputs']
    assert torch.equal(Corrupted(bgr, 'jpeg_compression', 5, bgr=True)[0]['inputs'].flip(0), one)
    assert not torch.equal(Corrupted(bgr, 'jpeg_compression', 5, bgr=False)[0]['inputs'].flip(0), one)


def test_gaussian_noise_has_the_benchmarks_spread():
    grey = [dict(inputs=torch.full((3, 64, 64), 128, dtype=torch.uint8))]
    for severity, spread in ((1, 0.08), (2, 0.12)):
        noise = Corrupted(grey, 'gaussian_noise', severity, bgr=False)[0]['inputs'].double() - 128
        assert noise.std().item() == pytest.approx(255 * spread, rel=0.03)


def test_images_that_are_too_small(clean):
    small = [dict(inputs=clean[0]['inputs'][:, :31])]
    with pytest.raises(InputError, match=r'corruptions got an image \(3, 31, 40\) of type torch.uint8: expected'):
        Corrupted(small, 'fog', 1, bgr=False)[0]


def test_errors_are_those_of_the_corrupted_images(by_brightness, tmp_path):
    """Severity s answers as the pixels 10 s + index say; only 200 and above is class 2."""
    classifier = by_brightness([0, 0, 0, 0], [0, 0, 0, 0])
    classifier.dataset = Subset(
        Listed([dict(img=np.zeros((1, 1, 3), np.uint8), gt_label=0) for _ in range(4)], 'PackInputs'), range(4)
    )
    values = np.array([[0, 0, 0, 0], [0, 0, 0, 100], [0, 0, 100, 200], [0, 100, 100, 200], [100] * 4], dtype=np.uint8)
    np.save(tmp_path / 'fog.npy', np.broadcast_to(values.reshape(20, 1, 1, 1), (20, 1, 1, 3)))
    np.save(tmp_path / 'snow.npy', np.zeros((20, 1, 1, 3), np.uint8))
    np.save(tmp_path / 'labels.npy', np.zeros(20, np.int64))
    errors = corruption_errors(classifier, ['fog', 'snow'], [1, 2, 3, 5], str(tmp_path))
    assert errors == {'fog': [0, 25, 50, 100], 'snow': [0, 0, 0, 0]}
    assert mean_corruption_error(errors) == pytest.approx((175 / 4 + 0) / 2)


def test_alexnet_itself_has_mce_100():
    errors = {name: [100 * error] * 5 for name, error in ALEXNET.items()}
    assert relative_to_alexnet(errors) == pytest.approx(100)
    half = {name: [0, 0, 0, 0, 5 * 50 * error] for name, error in ALEXNET.items()}
    assert relative_to_alexnet(half) == pytest.approx(50)
    # AlexNet's mean error on ImageNet-C as published.
    assert mean_corruption_error(errors) == pytest.approx(78.9, abs=0.3)
    del errors['fog']
    assert relative_to_alexnet(errors) is None
