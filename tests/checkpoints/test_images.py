"""Which images a network takes, read from recipes."""

import math

import pytest
import tiny

from mixskd_mm.checkpoints.config_text import literal_config
from mixskd_mm.checkpoints.images import images_of
from mixskd_mm.checkpoints.model_card import crop_fraction
from mixskd_mm.configs import read_config
from mixskd_mm.errors import InputError

IMAGENET = dict(mean=(123.675, 116.28, 103.53), std=(58.395, 57.12, 57.375))
CIFAR = dict(mean=(129.3105, 124.1085, 112.404), std=(68.2125, 65.4075, 70.4055))


@pytest.mark.parametrize(
    'recipe, expected, text',
    [
        (
            'mixskd_r50_imagenet.py',
            dict(**IMAGENET, channels='RGB', size=(224, 224), resized=256),
            'RGB images of 224 x 224 pixels (shorter edge resized to 256 (bilinear), centre crop)',
        ),
        (
            'cifar100/mixskd_r18_cifar100.py',
            dict(**CIFAR, channels='RGB', size=(32, 32), resized=None),
            'RGB images of 32 x 32 pixels, pixels 0 to 255 minus mean [129.3105, 124.1085, 112.404]',
        ),
        (
            'quickstart/mixskd_r18_digits.py',
            dict(mean=(128.0,) * 3, std=(128.0,) * 3, channels='RGB', size=(16, 16), resized=None),
            'RGB images of 16 x 16 pixels',
        ),
    ],
)
def test_recipes(recipe, expected, text):
    config = literal_config(read_config(str(tiny.ROOT / 'configs' / recipe)).pretty_text)
    images = images_of(config, 'in.pth')
    assert {name: getattr(images, name) for name in expected} == {
        name: pytest.approx(value) if name in ('mean', 'std') else value for name, value in expected.items()
    }
    assert str(images).startswith(text)


def config(preprocessor, *steps, **dataset):
    dataset = dict(type='CustomDataset', pipeline=[dict(type='LoadImageFromFile'), *steps], **dataset)
    return dict(data_preprocessor=preprocessor, val_dataloader=dict(dataset=dataset))


def test_what_is_not_normalised_takes_pixels():
    images = images_of(config({}), 'in.pth')
    assert (images.mean, images.std, images.channels, images.size) == ((0.0,) * 3, (1.0,) * 3, 'BGR', None)


def test_the_models_own_preprocessor_counts():
    run = {**config(dict(mean=[1] * 3, std=[2] * 3)), 'model': dict(data_preprocessor=dict(mean=[3] * 3, std=[4] * 3))}
    assert images_of(run, 'in.pth').mean == (3.0,) * 3


def test_width_and_height_are_not_confused():
    resize, crop = dict(type='Resize', scale=(90, 60)), dict(type='CenterCrop', crop_size=(80, 40))
    assert images_of(config({}, resize), 'in.pth').size == (60, 90)
    images = images_of(config({}, resize, crop), 'in.pth')
    assert (images.size, images.resized) == ((40, 80), (60, 90))
    run = config({})
    run['train_dataloader'] = dict(dataset=dict(dataset=dict(pipeline=[dict(type='RandomCrop', crop_size=(40, 80))])))
    assert images_of(run, 'in.pth').size == (40, 80)


@pytest.mark.parametrize(
    'run',
    [
        {},
        dict(data_preprocessor={}),
        config({}, dict(type='Normalize', mean=[0] * 3, std=[1] * 3)),
        dict(
            data_preprocessor={}, test_dataloader=dict(dataset=dict(type='Unknown', pipeline=[dict(type='PackInputs')]))
        ),
    ],
)
def test_unknown_stays_unknown(run):
    assert images_of(run, 'in.pth') is None


def test_a_mean_of_other_channels_is_refused():
    with pytest.raises(InputError, match=r'in\.pth: data_preprocessor\.mean=\[1, 2\]: expected 3 numbers'):
        images_of(config(dict(mean=[1, 2], std=[1, 1, 1])), 'in.pth')


@pytest.mark.parametrize('size, whole', [(224, 256), (448, 600), (64, 73), (32, 32), (299, 341)])
def test_timm_makes_the_same_size_of_a_fraction(size, whole):
    assert math.floor(size / crop_fraction(size, whole)) == whole
