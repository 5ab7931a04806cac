"""What an export says of itself: class names, images; and the formats that are more than renamed tensors."""

import json
import sys
from collections import OrderedDict

import numpy as np
import onnx
import onnxruntime
import pytest
import timm
import tiny
import torch
from mmengine.config import Config
from mmpretrain.apis import ImageClassificationInferencer
from mmpretrain.registry import MODELS
from safetensors import safe_open
from torch import nn

from mixskd_mm.checkpoints.counterparts import detectron2_name
from mixskd_mm.checkpoints.export import export
from mixskd_mm.checkpoints.formats import FORMATS
from mixskd_mm.errors import InputError

TOOL = 'checkpoints/export_backbone.py'
CLASSES = ['apple', 'blue whale', 'Çinar, tree']
MEAN, STD = [123.675, 116.28, 103.53], [58.395, 57.12, 57.375]
PIPELINE = [
    dict(type='LoadImageFromFile'),
    dict(type='ResizeEdge', scale=73, edge='short', backend='pillow', interpolation='bicubic'),
    dict(type='CenterCrop', crop_size=64),
    dict(type='PackInputs'),
]
IMAGES = (
    'RGB images of 64 x 64 pixels (shorter edge resized to 73 (bicubic), centre crop), pixels 0 to 255 minus mean '
    '[123.675, 116.28, 103.53] over std [58.395, 57.12, 57.375]'
)


def run_config(backbone=None, width=512, **preprocessor):
    return dict(
        model=dict(
            type='ImageClassifier',
            backbone=backbone or dict(type='ResNet', depth=18),
            neck=dict(type='GlobalAveragePooling'),
            head=dict(type='LinearClsHead', num_classes=3, in_channels=width),
        ),
        data_preprocessor=dict(num_classes=3, **{**dict(mean=MEAN, std=STD, to_rgb=True), **preprocessor}),
        test_dataloader=dict(dataset=dict(type='CustomDataset', pipeline=PIPELINE)),
    )


def save_run(path, config, classes=CLASSES):
    """A checkpoint of that run with random weights and statistics other than 0 and 1; its model in eval mode."""
    torch.manual_seed(0)
    model = MODELS.build(config['model'])
    for name, buffer in model.named_buffers():
        if name.endswith(('running_mean', 'running_var')):
            buffer.uniform_(0.5, 1.5)
    meta = dict(cfg=Config(config).pretty_text, epoch=7, recipe='recipe.py', mixskd_mm='0.1.0+abc')
    if classes:
        meta['dataset_meta'] = dict(classes=classes)
    torch.save({'state_dict': model.state_dict(), 'meta': meta}, path)
    return model.eval()


@pytest.fixture(scope='module')
def run(tmp_path_factory):
    """A ResNet-18 and its training checkpoint."""
    path = tmp_path_factory.mktemp('run') / 'epoch_7.pth'
    return save_run(path, run_config()), str(path)


@pytest.fixture(scope='module')
def images():
    return torch.randn(5, 3, 64, 64, generator=torch.Generator().manual_seed(1))


@pytest.fixture(scope='module')
def folder(run, tmp_path_factory):
    out = tmp_path_factory.mktemp('hub') / 'r18'
    assert export(run[1], str(out), 'timm-folder', metrics={'accuracy/top1': 50.0}) == 122
    return out


def about(path, format):
    """What a written file says of itself, read with its own library."""
    if format in ('safetensors', 'timm-folder'):
        with safe_open(path / 'model.safetensors' if format == 'timm-folder' else path, 'pt') as file:
            return file.metadata()
    if format == 'onnx':
        return {entry.key: entry.value for entry in onnx.load(path).metadata_props}
    file = torch.load(path, weights_only=True)
    return file.meta if isinstance(file, OrderedDict) else file['meta']


@pytest.mark.parametrize('format', FORMATS)
def test_every_format_says_classes_and_images(format, run, tmp_path):
    out = tmp_path / 'out.pth'
    export(run[1], str(out), format)
    found = about(out, format)
    if format == 'mm':
        found['classes'] = json.dumps(found.pop('dataset_meta')['classes'])
    assert json.loads(found['classes']) == CLASSES
    assert (found['recipe'], found['images'], found['channel_order']) == ('recipe.py', IMAGES, 'RGB')
    assert (json.loads(found['mean']), json.loads(found['std'])) == (MEAN, STD)
    assert json.loads(found['input_size']) == [3, 64, 64]


def test_an_inferencer_names_the_classes_of_an_mm_file(run, tmp_path):
    export(run[1], str(tmp_path / 'out.pth'))
    config = Config({**run_config(), 'default_scope': 'mmpretrain'})
    inferencer = ImageClassificationInferencer(config, str(tmp_path / 'out.pth'), device='cpu')
    (result,) = inferencer(np.zeros((80, 80, 3), np.uint8))
    assert result['pred_class'] == CLASSES[result['pred_label']]


@torch.no_grad()
def test_timm_loads_the_folder(run, folder, images):
    model = timm.create_model(f'local-dir:{folder}', pretrained=True).eval()
    assert type(model).__name__ == 'ResNet' and model.num_classes == 3
    assert torch.equal(model(images), run[0](images))
    config = timm.data.resolve_model_data_config(model)
    assert (tuple(config['input_size']), config['interpolation'], config['crop_mode']) == (
        (3, 64, 64),
        'bicubic',
        'center',
    )
    np.testing.assert_allclose([config['mean'], config['std']], np.array([MEAN, STD]) / 255, rtol=1e-12)
    resize, crop, *_ = timm.data.create_transform(**config).transforms
    assert resize.size == 73 and tuple(crop.size) == (64, 64)
    assert model.pretrained_cfg['label_names'] == CLASSES


def test_the_folder_has_what_the_hub_wants(folder):
    assert sorted(path.name for path in folder.iterdir()) == ['README.md', 'config.json', 'model.safetensors']
    assert about(folder, 'timm-folder')['format'] == 'pt'
    card = (folder / 'README.md').read_text(encoding='utf-8')
    _, header, text = card.split('---\n', 2)
    assert 'license: apache-2.0\n' in header and 'library_name: timm\n' in header
    for expected in ('recipe.py, epoch 7', 'accuracy/top1=50.0', IMAGES, '\n2. Çinar, tree\n', 'Apache-2.0'):
        assert expected in text
    assert [path.name for path in folder.parent.iterdir()] == ['r18']


def test_a_folder_that_holds_something_stays(run, folder, tmp_path):
    (tmp_path / 'mine').mkdir()
    (tmp_path / 'mine' / 'notes.txt').write_text('mine')
    for out in (tmp_path / 'mine', tmp_path / 'mine' / 'notes.txt'):
        with pytest.raises(InputError, match='exists already: expected the name of a new folder, or an empty one'):
            export(run[1], str(out), 'timm-folder')
    assert (tmp_path / 'mine' / 'notes.txt').read_text() == 'mine'
    (tmp_path / 'empty').mkdir()
    export(run[1], str(tmp_path / 'empty'), 'timm-folder')
    assert len(list((tmp_path / 'empty').iterdir())) == 3


@pytest.mark.parametrize(
    'changes, message',
    [
        (dict(to_rgb=False), 'takes BGR images, timm gives RGB'),
        (None, 'does not say how its images are normalised, which the format timm-folder states'),
    ],
)
def test_a_folder_whose_images_timm_would_get_wrong_is_refused(changes, message, tmp_path):
    config = run_config(**(changes or {}))
    if changes is None:
        del config['data_preprocessor']
    save_run(tmp_path / 'in.pth', config)
    with pytest.raises(InputError, match=message):
        export(str(tmp_path / 'in.pth'), str(tmp_path / 'out'), 'timm-folder')
    assert not (tmp_path / 'out').exists()


@torch.no_grad()
@pytest.mark.parametrize('size', [None, (48, 80)])
def test_onnx_gives_the_outputs_for_any_batch(size, run, tmp_path):
    out = tmp_path / 'out.onnx'
    assert export(run[1], str(out), 'onnx', size=size) == 122
    assert [(entry.domain, entry.version) for entry in onnx.load(out).opset_import] == [('', 17)]
    assert about(out, 'onnx')['opset'] == '17'
    session = onnxruntime.InferenceSession(out, providers=['CPUExecutionProvider'])
    (taken,) = session.get_inputs()
    assert (taken.name, taken.shape) == ('images', ['batch', 3, *(size or (64, 64))])
    for count in (1, 2, 5):
        images = torch.randn(count, *taken.shape[1:], generator=torch.Generator().manual_seed(count))
        (logits,) = session.run(['logits'], {'images': images.numpy()})
        expected = run[0](images)
        assert np.abs(logits - expected.numpy()).max() < 1e-4 * expected.abs().max()


@torch.no_grad()
def test_onnx_has_networks_without_counterparts(tmp_path):
    backbone = dict(type='MobileNetV2', widen_factor=0.25)
    model = save_run(tmp_path / 'in.pth', run_config(backbone, width=1280))
    export(str(tmp_path / 'in.pth'), str(tmp_path / 'out.onnx'), 'onnx')
    session = onnxruntime.InferenceSession(tmp_path / 'out.onnx', providers=['CPUExecutionProvider'])
    images = torch.randn(2, 3, 64, 64)
    expected = model(images)
    torch.testing.assert_close(
        torch.from_numpy(session.run(None, {'images': images.numpy()})[0]), expected, rtol=1e-3, atol=1e-4
    )


def test_an_onnx_file_that_differs_gets_no_name(run, tmp_path, monkeypatch):
    session = onnxruntime.InferenceSession

    class Wrong(session):
        def run(self, *args):
            (logits,) = super().run(*args)
            return [logits * 1.01]

    monkeypatch.setattr(onnxruntime, 'InferenceSession', Wrong)
    with pytest.raises(InputError, match='the outputs in the format onnx differ') as error:
        export(run[1], str(tmp_path / 'out.onnx'), 'onnx')
    assert '\n' not in str(error.value) and list(tmp_path.iterdir()) == []


def detectron2_resnet(depth):
    """Modules named as in detectron2's ResNet: a stem, res2 to res5, blocks of convolutions that hold their norm."""

    def conv(inputs, outputs, size):
        layer = nn.Conv2d(inputs, outputs, size, bias=False)
        layer.norm = nn.BatchNorm2d(outputs)
        return layer

    basic = depth < 50
    blocks = {18: (2, 2, 2, 2), 50: (3, 4, 6, 3)}[depth]
    model = nn.Module()
    model.stem = nn.Module()
    model.stem.conv1 = conv(3, 64, 7)
    inputs = 64
    for stage, count in enumerate(blocks):
        inner = 64 * 2**stage
        outputs = inner if basic else 4 * inner
        kernels = [(inner, 3), (inner, 3)] if basic else [(inner, 1), (inner, 3), (outputs, 1)]
        made = []
        for _ in range(count):
            block = nn.Module()
            if inputs != outputs:
                block.shortcut = conv(inputs, outputs, 1)
            for i, (width, size) in enumerate(kernels, 1):
                block.add_module(f'conv{i}', conv(inputs if i == 1 else kernels[i - 2][0], width, size))
            made.append(block)
            inputs = outputs
        model.add_module(f'res{stage + 2}', nn.Sequential(*made))
    return model


@pytest.mark.parametrize('depth', [18, 50])
def test_detectron2_has_these_names_and_shapes(depth):
    backbone = MODELS.build(dict(type='ResNet', depth=depth))
    found = {detectron2_name(f'backbone.{name}'): value.shape for name, value in backbone.state_dict().items()}
    found.pop(None)
    expected = {name: value.shape for name, value in detectron2_resnet(depth).state_dict().items()}
    assert found == {name: shape for name, shape in expected.items() if not name.endswith('num_batches_tracked')}


def test_the_file_for_detectron2(run, tmp_path):
    count = export(run[1], str(tmp_path / 'out.pth'), 'detectron2')
    file = torch.load(tmp_path / 'out.pth', weights_only=True)
    assert file['matching_heuristics'] is True and len(file['model']) == count == 100
    state = run[0].state_dict()
    for theirs, ours in {
        'stem.conv1.weight': 'conv1.weight',
        'stem.conv1.norm.running_mean': 'bn1.running_mean',
        'res2.0.conv1.weight': 'layer1.0.conv1.weight',
        'res3.0.shortcut.norm.bias': 'layer2.0.downsample.1.bias',
        'res5.1.conv2.norm.weight': 'layer4.1.bn2.weight',
    }.items():
        assert torch.equal(file['model'][theirs], state[f'backbone.{ours}'])
    assert file['meta']['settings'].split(' ') == [
        'MODEL.RESNETS.DEPTH=18',
        'MODEL.RESNETS.STRIDE_IN_1X1=False',
        'MODEL.RESNETS.RES2_OUT_CHANNELS=64',
        'INPUT.FORMAT=RGB',
        'MODEL.PIXEL_MEAN=[123.675,116.28,103.53]',
        'MODEL.PIXEL_STD=[58.395,57.12,57.375]',
    ]
    with pytest.raises(InputError, match=r'out\.pkl: expected a name that ends in \.pth for the format detectron2'):
        export(run[1], str(tmp_path / 'out.pkl'), 'detectron2')


@pytest.mark.parametrize('format', ['torchvision', 'timm', 'timm-folder', 'detectron2'])
def test_no_counterpart_is_said_in_one_line(format, tmp_path):
    save_run(tmp_path / 'in.pth', run_config(dict(type='MobileNetV2', widen_factor=0.25), width=1280))
    library = format.removesuffix('-folder')
    with pytest.raises(InputError, match=f'^{library} has no counterpart of MobileNetV2') as error:
        export(str(tmp_path / 'in.pth'), str(tmp_path / 'out.pth'), format)
    assert '\n' not in str(error.value) and [path.name for path in tmp_path.iterdir()] == ['in.pth']


@pytest.mark.parametrize('format', FORMATS)
def test_damaged_weights_are_refused(format, run, tmp_path):
    """NaN, a variance below zero, which makes NaN of every image, a file that was cut short."""
    checkpoint = torch.load(run[1], weights_only=True)
    for name, value, expected in (
        ('head.fc.bias', float('nan'), 'head.fc.bias holds NaN or an infinity'),
        ('backbone.bn1.running_var', -1.0, 'gives NaN or an infinity for ordinary images'),
    ):
        state = {**checkpoint['state_dict'], name: torch.full_like(checkpoint['state_dict'][name], value)}
        torch.save({**checkpoint, 'state_dict': state}, tmp_path / 'in.pth')
        with pytest.raises(InputError, match=expected) as error:
            export(str(tmp_path / 'in.pth'), str(tmp_path / 'out.pth'), format)
        assert '\n' not in str(error.value)
    whole = (tmp_path / 'in.pth').read_bytes()
    (tmp_path / 'in.pth').write_bytes(whole[: len(whole) // 2])
    with pytest.raises(InputError, match=r'in\.pth is damaged, cut short or no checkpoint'):
        export(str(tmp_path / 'in.pth'), str(tmp_path / 'out.pth'), format)
    assert [path.name for path in tmp_path.iterdir()] == ['in.pth']


@pytest.mark.parametrize(
    'format, module', [('timm', 'timm'), ('timm-folder', 'timm'), ('onnx', 'onnx'), ('onnx', 'onnxruntime')]
)
def test_a_missing_library_is_named(format, module, run, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(InputError, match=f'^the format {format} needs {module}: pip install {module}$'):
        export(run[1], str(tmp_path / 'out'), format)
    assert list(tmp_path.iterdir()) == []


def test_missing_safetensors_is_named(run, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, 'safetensors.torch', None)
    for format in ('safetensors', 'timm-folder'):
        with pytest.raises(InputError, match=f'^the format {format} needs safetensors: pip install safetensors$'):
            export(run[1], str(tmp_path / 'out'), format)


def test_names_of_another_number_of_classes_are_refused(tmp_path):
    save_run(tmp_path / 'in.pth', run_config(), classes=['a', 'b'])
    with pytest.raises(
        InputError, match=r'names 2 classes \(meta\.dataset_meta\) and its model has 3: expected as many'
    ):
        export(str(tmp_path / 'in.pth'), str(tmp_path / 'out.pth'))


def test_the_command_line_says_the_images(run, tmp_path, monkeypatch, capsys):
    out = tmp_path / 'out.onnx'
    tiny.run_script(f'tools/{TOOL}', run[1], out, '--format', 'onnx', '--size', '32', monkeypatch=monkeypatch)
    line = capsys.readouterr().out
    assert line == f'{out}: 122 tensors in the format onnx; read back, and the outputs agree; takes {IMAGES}\n'
    assert onnxruntime.InferenceSession(out).get_inputs()[0].shape == ['batch', 3, 32, 32]
    for arguments, expected in (
        (('--size', '32'), 'size=(32, 32) with the format mm: expected it with onnx, whose files fix the size'),
        (('--size', '0'), '--size 0: expected one or two numbers of pixels'),
    ):
        assert tiny.error_of(TOOL, run[1], out, *arguments, monkeypatch=monkeypatch) == f'error: {expected}'


def test_onnx_asks_for_a_size_that_the_checkpoint_does_not_say(tmp_path):
    config = run_config()
    config['test_dataloader']['dataset']['pipeline'] = [dict(type='LoadImageFromFile'), dict(type='PackInputs')]
    save_run(tmp_path / 'in.pth', config, classes=None)
    with pytest.raises(InputError, match=r'does not say how large its images are: expected --size, in pixels'):
        export(str(tmp_path / 'in.pth'), str(tmp_path / 'out.onnx'), 'onnx')
