"""Exported files, loaded as their users load them, give the outputs of the network that was trained."""

import copy
import json
import pickle

import pytest
import timm
import torch
import torchvision
from mmengine.config import Config
from mmpretrain.registry import MODELS
from safetensors import safe_open

from mixskd_mm.checkpoints.export import export
from mixskd_mm.errors import InputError


def save_training(path, model, config, **more):
    """A checkpoint as mmengine's Runner writes it, as far as the export reads it."""
    meta = dict(cfg=Config(dict(model=config)).pretty_text, epoch=7, recipe='recipe.py', mixskd_mm='0.1.0+abc')
    torch.save({'state_dict': model.state_dict(), 'meta': meta, **more}, path)
    return str(path)


@pytest.fixture(scope='module')
def resnet18(tmp_path_factory):
    """A MixSKD ResNet-18 with ImageNet's stem and running statistics other than 0 and 1, and its checkpoint."""
    config = dict(
        type='MixSKDClassifier',
        backbone=dict(type='ResNet', depth=18, init_cfg=dict(type='Pretrained', checkpoint='elsewhere.pth')),
        neck=dict(type='GlobalAveragePooling'),
        head=dict(type='LinearClsHead', num_classes=10, in_channels=512),
        feature_weight=0.5,
    )
    torch.manual_seed(0)
    model = MODELS.build(config)
    for name, buffer in model.named_buffers():
        if name.endswith(('running_mean', 'running_var')):
            buffer.uniform_(0.5, 1.5)
    path = save_training(tmp_path_factory.mktemp('resnet18') / 'epoch_7.pth', model, config)
    return model.eval(), path


@pytest.fixture
def images():
    return torch.randn(2, 3, 64, 64, generator=torch.Generator().manual_seed(1))


@torch.no_grad()
@pytest.mark.parametrize('format', ['torchvision', 'timm'])
def test_loads_strictly_into_the_other_library(format, resnet18, images, tmp_path):
    model, path = resnet18
    out = tmp_path / 'out.pth'
    count = export(path, str(out), format)
    build = {
        'torchvision': torchvision.models.resnet18,
        'timm': lambda num_classes: timm.create_model('resnet18', num_classes=num_classes),
    }
    other = build[format](num_classes=10).eval()
    state = torch.load(out, weights_only=True)
    other.load_state_dict(state, strict=True)
    assert len(state) == count == len(other.state_dict())
    torch.testing.assert_close(other.double()(images.double()), copy.deepcopy(model).double()(images.double()))


@torch.no_grad()
def test_mm_holds_the_plain_classifier_and_nothing_else(resnet18, images, tmp_path):
    model, path = resnet18
    out = tmp_path / 'out.pth'
    export(path, str(out), 'mm', metrics={'accuracy/top1': 78.76})
    exported = torch.load(out, weights_only=True)
    plain = MODELS.build(
        dict(
            type='ImageClassifier',
            backbone=dict(type='ResNet', depth=18),
            neck=dict(type='GlobalAveragePooling'),
            head=dict(type='LinearClsHead', num_classes=10, in_channels=512),
        )
    ).eval()
    plain.load_state_dict(exported['state_dict'], strict=True)
    assert torch.equal(plain(images), model(images))
    assert exported['meta'] == dict(
        recipe='recipe.py', epoch='7', mixskd_mm='0.1.0+abc', accuracy='accuracy/top1=78.76', images='unknown'
    )


def test_safetensors_holds_mm_names_and_metadata(resnet18, tmp_path):
    model, path = resnet18
    out = tmp_path / 'out.safetensors'
    export(path, str(out), 'safetensors')
    expected = {k: v for k, v in model.state_dict().items() if k.startswith(('backbone.', 'head.'))}
    with safe_open(out, 'pt') as file:
        assert set(file.keys()) == set(expected)
        assert all(torch.equal(file.get_tensor(key), value) for key, value in expected.items())
        about = dict(recipe='recipe.py', epoch='7', mixskd_mm='0.1.0+abc', accuracy='not measured', images='unknown')
        assert file.metadata() == about


def test_ema_chooses_between_the_two_sets_of_weights(resnet18, tmp_path):
    _, path = resnet18
    checkpoint = torch.load(path, weights_only=True)
    # EMAHook saves the average as state_dict and the trained weights under module.
    average = {
        key: value * 0.5 if value.is_floating_point() else value for key, value in checkpoint['state_dict'].items()
    }
    trained = {f'module.{key}': value for key, value in checkpoint['state_dict'].items()}
    torch.save(
        {**checkpoint, 'state_dict': average, 'ema_state_dict': {**trained, 'steps': torch.tensor(3)}},
        tmp_path / 'ema.pth',
    )
    key = 'backbone.conv1.weight'
    for ema, expected in ((False, trained[f'module.{key}']), (True, average[key])):
        export(str(tmp_path / 'ema.pth'), str(tmp_path / 'out.pth'), 'mm', ema=ema)
        assert torch.equal(torch.load(tmp_path / 'out.pth', weights_only=True)['state_dict'][key], expected)
    with pytest.raises(InputError, match='no averaged weights'):
        export(path, str(tmp_path / 'no.pth'), 'mm', ema=True)
    assert not (tmp_path / 'no.pth').exists()


@torch.no_grad()
def test_resnext_has_counterparts(images, tmp_path):
    config = dict(
        type='ImageClassifier',
        backbone=dict(type='ResNeXt', depth=50, groups=32, width_per_group=4),
        neck=dict(type='GlobalAveragePooling'),
        head=dict(type='LinearClsHead', num_classes=3, in_channels=2048),
    )
    model = MODELS.build(config)
    path = save_training(tmp_path / 'x.pth', model, config)
    export(path, str(tmp_path / 'out.pth'), 'torchvision')
    other = torchvision.models.resnext50_32x4d(num_classes=3).eval()
    other.load_state_dict(torch.load(tmp_path / 'out.pth', weights_only=True), strict=True)
    torch.testing.assert_close(other.double()(images.double()), model.eval().double()(images.double()))


@pytest.mark.parametrize('format', ['torchvision', 'timm'])
@pytest.mark.parametrize(
    'backbone, named',
    [
        (dict(type='ResNet_CIFAR', depth=18), 'ResNet_CIFAR-18'),
        (dict(type='ResNetV1d', depth=18), 'ResNetV1d-18'),
        (dict(type='ResNet', depth=18, base_channels=32, stem_channels=32), 'base_channels=32'),
        (dict(type='ResNeXt', depth=50, groups=4, width_per_group=4), 'ResNeXt-50'),
    ],
)
def test_no_counterpart_is_an_error_and_no_file(format, backbone, named, tmp_path):
    width = dict(ResNeXt=2048).get(backbone['type'], 256 if 'base_channels' in backbone else 512)
    config = dict(
        type='ImageClassifier',
        backbone=backbone,
        neck=dict(type='GlobalAveragePooling'),
        head=dict(type='LinearClsHead', num_classes=3, in_channels=width),
    )
    path = save_training(tmp_path / 'x.pth', MODELS.build(config), config)
    with pytest.raises(InputError, match=f'^{format} has no counterpart of ') as error:
        export(path, str(tmp_path / 'out.pth'), format)
    assert named in str(error.value) and '\n' not in str(error.value)
    assert [file.name for file in tmp_path.iterdir()] == ['x.pth']


def foreign_checkpoints(resnet18, tmp_path):
    _, path = resnet18
    good = torch.load(path, weights_only=True)
    detector = "model = dict(type='CascadeRCNN', backbone=dict(type='ResNet', depth=50), roi_head=dict())"
    deeper = good['meta']['cfg'].replace('depth=18', 'depth=34')
    return {
        'does not say what was trained': {'state_dict': good['state_dict']},
        'holds a CascadeRCNN': {**good, 'meta': {'cfg': detector}},
        'no backbone': {**good, 'state_dict': {'conv.weight': torch.zeros(1)}},
        'head.fc.bias holds NaN or an infinity: expected finite weights': {
            **good,
            'state_dict': {**good['state_dict'], 'head.fc.bias': good['state_dict']['head.fc.bias'] * float('nan')},
        },
        'does not fit the model of its own config': {**good, 'meta': {'cfg': deeper}},
    }


@pytest.mark.parametrize(
    'message',
    [
        'does not say what was trained',
        'holds a CascadeRCNN',
        'no backbone',
        'head.fc.bias holds NaN or an infinity: expected finite weights',
        'does not fit the model of its own config',
    ],
)
def test_foreign_checkpoints_are_refused_in_one_line(message, resnet18, tmp_path):
    torch.save(foreign_checkpoints(resnet18, tmp_path)[message], tmp_path / 'in.pth')
    with pytest.raises(InputError, match=message) as error:
        export(str(tmp_path / 'in.pth'), str(tmp_path / 'out.pth'))
    assert '\n' not in str(error.value)
    assert not (tmp_path / 'out.pth').exists()


def test_an_exported_file_is_named_as_such(tmp_path):
    exported = {'state_dict': {'backbone.w': torch.eye(2)}, 'meta': {'recipe': 'a', 'epoch': '1'}}
    torch.save(exported, tmp_path / 'out.pth')
    with pytest.raises(InputError, match=r'out\.pth was exported already: expected the training checkpoint'):
        export(str(tmp_path / 'out.pth'), str(tmp_path / 'again.pth'))


class Touch:
    def __init__(self, file):
        self.file = file

    def __reduce__(self):
        return open, (str(self.file), 'w')


def test_a_malicious_file_runs_nothing(tmp_path):
    ran = tmp_path / 'ran'
    torch.save({'state_dict': {}, 'meta': Touch(ran)}, tmp_path / 'in.pth', pickle_module=pickle)
    with pytest.raises(InputError, match='would run code'):
        export(str(tmp_path / 'in.pth'), str(tmp_path / 'out.pth'))
    assert not ran.exists() and not (tmp_path / 'out.pth').exists()


def test_the_command_line(resnet18, tmp_path, monkeypatch, capsys):
    import runpy
    import sys
    from pathlib import Path

    tool = Path(__file__).resolve().parents[2] / 'tools' / 'checkpoints' / 'export_backbone.py'
    metrics = tmp_path / 'test.json'
    metrics.write_text(json.dumps({'accuracy/top1': 50.0}))
    out = tmp_path / 'out.pth'
    monkeypatch.setattr(sys, 'argv', [str(tool), resnet18[1], str(out), '--metrics', str(metrics)])
    runpy.run_path(str(tool), run_name='__main__')
    assert '122 tensors in the format mm' in capsys.readouterr().out
    assert torch.load(out, weights_only=True)['meta']['accuracy'] == 'accuracy/top1=50.0'
