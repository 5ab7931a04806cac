"""CIFAR-100's first images of each class, reduced."""

import hashlib
import pickle

import numpy as np
import pytest

from mixskd_mm.datasets import ReducedCIFAR100
from mixskd_mm.datasets.reduced_cifar100 import average
from mixskd_mm.errors import InputError


@pytest.fixture
def archive(tmp_path, monkeypatch):
    """Seven images of two classes in the archive's format, and their pixels."""
    folder = tmp_path / 'cifar-100-python'
    folder.mkdir()
    images = np.random.default_rng(0).integers(0, 256, (7, 32, 32, 3), dtype=np.uint8)
    labels = [0, 1, 0, 0, 1, 1, 0]
    train = {'data': images.transpose(0, 3, 1, 2).reshape(7, -1), 'fine_labels': labels}
    names = {'fine_label_names': ['cat', 'dog']}
    for name, content in (('train', train), ('test', train), ('meta', names)):
        (folder / name).write_bytes(pickle.dumps(content))
    md5 = {file.name: hashlib.md5(file.read_bytes()).hexdigest() for file in folder.iterdir()}
    monkeypatch.setattr(ReducedCIFAR100, 'train_list', [['train', md5['train']]])
    monkeypatch.setattr(ReducedCIFAR100, 'test_list', [['test', md5['test']]])
    monkeypatch.setattr(ReducedCIFAR100, 'meta', dict(ReducedCIFAR100.meta, md5=md5['meta']))
    return tmp_path, images


def build(root, **settings):
    return ReducedCIFAR100(data_root=str(root), split='train', **settings)


def test_the_first_images_of_each_class_in_the_order_of_the_archive(archive):
    root, images = archive
    data = build(root, images_per_class=2, pool=1)
    assert [int(label) for label in data.get_gt_labels()] == [0, 1, 0, 1]
    for i, j in enumerate((0, 1, 2, 4)):
        np.testing.assert_array_equal(data.get_data_info(i)['img'], images[j])


def test_skipped_images_are_those_that_the_other_split_has(archive):
    root, images = archive
    data = build(root, images_per_class=1, skip_per_class=2, pool=1)
    np.testing.assert_array_equal(data.get_data_info(0)['img'], images[3])
    np.testing.assert_array_equal(data.get_data_info(1)['img'], images[5])
    assert len(build(root, pool=1)) == 7


def test_each_pixel_is_the_mean_of_a_square(archive):
    root, images = archive
    image = build(root).get_data_info(0)['img']
    assert image.shape == (16, 16, 3)
    assert image.dtype == np.uint8
    mean = images[0, 6:8, 10:12].reshape(4, 3).astype(np.float64).sum(0) / 4
    assert np.abs(image[3, 5] - mean).max() <= 0.5


def test_average_does_not_overflow():
    np.testing.assert_array_equal(average(np.full((4, 4, 1), 255, np.uint8), 2), np.full((2, 2, 1), 255))


@pytest.mark.parametrize(
    'settings, said',
    [
        (dict(images_per_class=0), 'images_per_class=0'),
        (dict(images_per_class=4), 'has 3 images of a class'),
        (dict(images_per_class=2, skip_per_class=2), 'has 3 images of a class'),
        (dict(skip_per_class=-1), 'skip_per_class=-1'),
        (dict(pool=3), 'expected a divisor of 32'),
    ],
)
def test_what_cannot_be_is_refused(archive, settings, said):
    with pytest.raises(InputError, match=said):
        build(archive[0], **settings)
