"""What an exception out of a library says of the config that it was built from."""

import sys

import pytest
import torch
from mmengine.registry import DATASETS, MODELS, TRANSFORMS, VISBACKENDS, Registry

from mixskd_mm.errors import InputError
from mixskd_mm.settings import describe_argument, describe_failure, naming_settings, write_traceback
from mixskd_mm.settings.paths import locate

BACKBONE = dict(type='mmpretrain.ResNet_CIFAR', depth=18, stem_channels=8, base_channels=8)


def failure(config):
    with naming_settings(), pytest.raises((InputError, KeyError, TypeError)) as raised:
        MODELS.build(config['model']['backbone'])
    return raised.value


def test_an_exception_names_the_path_to_what_was_built():
    config = dict(model=dict(type='ImageClassifier', backbone=dict(BACKBONE, depth=51)))
    error = failure(config)
    # As the library raised it.
    assert type(error) is KeyError
    assert describe_argument(error, config) is None
    assert describe_failure(error, config) == (
        f'model.backbone.depth=51: expected what mmpretrain.ResNet_CIFAR can take (KeyError: {error})'
    )


@pytest.mark.parametrize(
    ('change', 'expected'),
    [
        (dict(dpeth=18), 'model.backbone.dpeth=18: no such setting: expected model.backbone.'),
        (dict(type='ResNet_CIFARR'), "model.backbone.type='ResNet_CIFARR': expected the name of a registered class"),
        (dict(with_cp='perhaps'), "model.backbone.with_cp='perhaps': expected True or False, as "),
    ],
)
def test_an_argument_that_a_class_does_not_take_is_named(change, expected):
    config = dict(model=dict(type='ImageClassifier', backbone={**BACKBONE, **change}))
    assert describe_argument(failure(config), config).startswith(expected)


def test_a_missing_type_and_a_missing_argument_are_named():
    config = dict(model=dict(backbone=dict(depth=18)))
    assert describe_argument(failure(config), config) == (
        'model.backbone.type is missing: expected the name of a registered class'
    )
    config = dict(model=dict(backbone=dict(type='mmpretrain.ResNet_CIFAR')))
    assert describe_argument(failure(config), config) == (
        'model.backbone.depth is missing: expected a value, since mmpretrain.ResNet_CIFAR needs it'
    )


def test_a_package_that_is_missing_is_named_with_what_needs_it(monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, 'torch.utils.tensorboard', None)
    monkeypatch.setitem(sys.modules, 'tensorboardX', None)
    config = dict(visualizer=dict(vis_backends=[dict(type='TensorboardVisBackend', save_dir=str(tmp_path))]))
    with naming_settings():
        backend = VISBACKENDS.build(config['visualizer']['vis_backends'][0])
        with pytest.raises(ImportError) as raised:
            backend.add_scalar('loss', 1.0)
        line = describe_argument(raised.value, config)
    assert line.startswith(
        "visualizer.vis_backends.0.type='TensorboardVisBackend' lacks a package that it needs: Please"
    )


@pytest.mark.parametrize('content', ['0/a.png zero\n', '0/a.png\n'])
def test_a_list_that_cannot_be_read_is_named(tmp_path, content):
    (tmp_path / 'list.txt').write_text(content)
    config = dict(dataset=dict(type='mmpretrain.CustomDataset', data_root=str(tmp_path), ann_file='list.txt'))
    with naming_settings(), pytest.raises(ValueError) as raised:
        DATASETS.build(config['dataset'])
    assert f'reading {tmp_path}/list.txt)' in describe_failure(raised.value, config)


def test_an_exception_while_running_names_the_innermost_part_that_was_built():
    config = dict(model=dict(backbone=dict(BACKBONE)))
    with naming_settings():
        backbone = MODELS.build(config['model']['backbone'])
        with pytest.raises(RuntimeError) as raised:
            backbone(torch.zeros(1, 5, 8, 8))
        line = describe_failure(raised.value, config)
    assert (
        line.startswith('model.backbone.') and 'expected what mmpretrain.ResNet_CIFAR can take (RuntimeError: ' in line
    )


def test_parameters_that_no_memory_holds_are_refused_before_they_are_filled(monkeypatch):
    monkeypatch.setattr('os.sysconf', lambda name: 64)
    config = dict(model=dict(backbone=dict(BACKBONE)))
    error = failure(config)
    assert isinstance(error, InputError)
    assert 'expected parameters that fit into the memory of 0 GiB (in model.backbone)' in describe_argument(
        error, config
    )


def test_a_transform_names_the_file_that_it_cannot_read(tmp_path):
    (tmp_path / 'empty.png').touch()
    with naming_settings():
        load = TRANSFORMS.build(dict(type='mmcv.LoadImageFromFile'))
        with pytest.raises(InputError) as error:
            load(dict(img_path=str(tmp_path / 'empty.png')))
    assert str(error.value).startswith(
        f'failed to load {tmp_path}/empty.png: expected a file that LoadImageFromFile can '
    )
    assert len(str(error.value).splitlines()) == 1


def test_nothing_stays_patched():
    before = Registry.build
    with naming_settings():
        assert Registry.build is not before
    assert Registry.build is before


def test_a_part_is_found_though_its_class_added_to_it():
    config = dict(heads=[dict(type='A', n=1), dict(type='A', n=2), dict(type='B', n=2)])
    assert locate(config, dict(type='A', n=2, more=3)) == ('heads', 1)
    assert locate(config, dict(type='C')) is None


def test_a_traceback_goes_where_something_can_be_written(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / 'file').touch()
    assert write_traceback(ValueError('x'), str(tmp_path / 'run')).startswith(str(tmp_path / 'run' / 'traceback_'))
    # No folder can be made there.
    assert (tmp_path / write_traceback(ValueError('x'), str(tmp_path / 'file' / 'run'))).is_file()
