"""Parity with the authors' released ResNet-50, and the conversion of its checkpoint.

``tests/data/release_r50.json`` was measured once on the released training graph, with weights and inputs that a seed
determines: ``fill`` and ``inputs`` below make them again.
"""

import json
import math
import re
import zlib
from pathlib import Path

import pytest
import torch
from mmpretrain.registry import MODELS
from mmpretrain.structures import DataSample

from mixskd_mm.checkpoints import release
from mixskd_mm.checkpoints.release import convert_release, import_release, release_config, release_key
from mixskd_mm.errors import InputError
from mixskd_mm.models import Mixture

GOLDEN = json.loads((Path(__file__).parents[1] / 'data' / 'release_r50.json').read_text())


def released_name(name):
    """The released network's name of our tensor ``name``."""
    if name.startswith('head.'):
        return f'backbone.{name.removeprefix("head.")}'
    if name.startswith('self_teacher.'):
        return f'final_aux_classifier.{name.removeprefix("self_teacher.")}'
    classifier = re.fullmatch(r'branches\.(\d)\.head\.fc\.(.*)', name)
    if classifier:
        return f'auxiliary_classifier.fc{int(classifier[1]) + 1}.{classifier[2]}'
    stage = re.fullmatch(r'branches\.(\d)\.stages\.layer(\d)\.(.*)', name)
    if stage:
        k, layer = int(stage[1]) + 1, int(stage[2])
        return f'auxiliary_classifier.block_extractor{k}.{layer - k - 1}.{stage[3]}'
    return name


def fill(tensor, released):
    """Write the golden value of the released tensor of this name."""
    if released.endswith('running_mean') or released.endswith('num_batches_tracked'):
        return tensor.zero_()
    if released.endswith('running_var'):
        return tensor.fill_(1)
    generator = torch.Generator().manual_seed((zlib.crc32(released.encode()) + GOLDEN['seed']) % 2**31)
    tensor.copy_(torch.randn(tensor.shape, generator=generator))
    if tensor.ndim == 4:
        return tensor.mul_(math.sqrt(2 / math.prod(tensor.shape[1:])))
    if tensor.ndim == 2:
        return tensor.mul_(math.sqrt(1 / tensor.shape[1]))
    return tensor.mul_(0.1).add_(1 if released.endswith('weight') else 0)


def inputs():
    generator = torch.Generator().manual_seed(GOLDEN['seed'])
    x = torch.randn(GOLDEN['n'], 3, GOLDEN['res'], GOLDEN['res'], generator=generator)
    y = torch.randint(0, GOLDEN['num_classes'], (GOLDEN['n'],), generator=generator)
    return x, y, torch.randperm(GOLDEN['n'], generator=generator)


@pytest.fixture(scope='module')
def golden_model():
    """The released network with golden weights, on one thread as the golden values were measured."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    model = MODELS.build(release_config(GOLDEN['num_classes']))
    with torch.no_grad():
        for name, tensor in model.state_dict().items():
            fill(tensor, released_name(name))
    yield model
    torch.set_num_threads(threads)


def test_inference_of_the_release(golden_model):
    """Backbone and classifier alone, running statistics 0 and 1."""
    images, _, _ = inputs()
    golden_model.eval()
    with torch.no_grad():
        logits = golden_model(images[:2])[:, :6]
    torch.testing.assert_close(logits, torch.tensor(GOLDEN['eval_logits']), rtol=1e-4, atol=1e-2)


def test_losses_and_gradients_of_the_release(golden_model):
    images, labels, index = inputs()
    samples = [DataSample().set_gt_label(label) for label in labels]
    mixture = Mixture(GOLDEN['lam'], index)
    golden_model.train()
    assert golden_model.temperature == GOLDEN['T']

    losses = golden_model.loss(images, samples, mixture)
    sum(losses.values()).backward()
    # loss_cls is the sum of the release's two: the clean half of it is what is left without the mixed one.
    golden_model.mixed_weight = 0
    with torch.no_grad():
        clean = golden_model.loss(images, samples, mixture)['loss_cls']
    golden_model.mixed_weight = 1

    terms = {name.removeprefix('loss_'): loss.item() for name, loss in losses.items()}
    terms['cls_clean'] = clean.item()
    terms['cls_mixed'] = terms.pop('cls') - clean.item()
    assert terms == pytest.approx(GOLDEN['terms'], rel=1e-4)

    norms = {released_name(name): p.grad.norm().item() for name, p in golden_model.named_parameters()}
    assert {name: norms[name] for name in GOLDEN['grad_norms']} == pytest.approx(GOLDEN['grad_norms'], rel=1e-3)


def test_names_of_the_release_map_to_ours_one_to_one(golden_model):
    """The conversion reads each tensor of the released network, and its inverse here writes each of ours."""
    names = list(golden_model.state_dict())
    released = [released_name(name) for name in names]
    assert len(set(released)) == len(names) == 815
    assert [release_key(name) for name in released] == names
    assert [release_key(f'module.{name}') for name in released] == names


@pytest.mark.parametrize(
    'released, ours',
    [
        ('backbone.conv1.weight', 'backbone.conv1.weight'),
        ('backbone.layer1.0.downsample.1.running_var', 'backbone.layer1.0.downsample.1.running_var'),
        ('backbone.fc.bias', 'head.fc.bias'),
        # b_1 continues stage 1 with layer2, layer3 and layer4; b_3 has layer4 only.
        ('auxiliary_classifier.block_extractor1.0.3.bn2.bias', 'branches.0.stages.layer2.3.bn2.bias'),
        ('auxiliary_classifier.block_extractor1.2.0.conv1.weight', 'branches.0.stages.layer4.0.conv1.weight'),
        ('auxiliary_classifier.block_extractor3.0.2.conv3.weight', 'branches.2.stages.layer4.2.conv3.weight'),
        ('auxiliary_classifier.fc2.weight', 'branches.1.head.fc.weight'),
        ('final_aux_classifier.conv.weight', 'self_teacher.conv.weight'),
        ('final_aux_classifier.fc.bias', 'self_teacher.fc.bias'),
        ('module.backbone.bn1.weight', 'backbone.bn1.weight'),
        ('classifier.0.weight', None),
        ('auxiliary_classifier.other.weight', None),
    ],
)
def test_release_key(released, ours):
    assert release_key(released) == ours


@pytest.fixture
def small_release(monkeypatch):
    """Function: what ``torch.load`` gives for a released checkpoint, of a network 8 times narrower."""

    def small_config(num_classes):
        config = release_config(num_classes)
        config['backbone']['base_channels'], config['head']['in_channels'] = 8, 256
        return config

    monkeypatch.setattr(release, 'release_config', small_config)

    def build(num_classes=10):
        state = MODELS.build(small_config(num_classes)).state_dict()
        return {released_name(name): tensor for name, tensor in state.items()}

    return build


def test_conversion_renames_every_tensor_and_keeps_its_value(small_release):
    net = small_release(num_classes=7)
    state, config = convert_release({f'module.{name}': tensor for name, tensor in net.items()}, 'x.pth.tar')
    assert config['head']['num_classes'] == 7
    model = MODELS.build(config)
    model.load_state_dict(state, strict=True)
    assert len(state) == len(net)
    for name, tensor in model.state_dict().items():
        assert torch.equal(tensor, net[released_name(name)])


def without(net, name):
    return {key: tensor for key, tensor in net.items() if key != name}


@pytest.mark.parametrize(
    'change, message',
    [
        (lambda net: {**net, 'fc.weight': net['backbone.fc.weight']}, 'has 1 unknown tensors (first: fc.weight)'),
        (lambda net: without(net, 'backbone.fc.weight'), 'lacks backbone.fc.weight, the classifier'),
        (lambda net: without(net, 'backbone.bn1.bias'), 'lacks 1 tensors (first: backbone.bn1.bias)'),
        (
            lambda net: {**net, 'backbone.layer1.9.conv1.weight': torch.zeros(1)},
            'has unexpected 1 tensors (first: backbone.layer1.9.conv1.weight)',
        ),
        (
            lambda net: {**net, 'final_aux_classifier.fc.bias': torch.zeros(3)},
            'has another shape of 1 tensors (first: final_aux_classifier.fc.bias)',
        ),
    ],
    ids=['unknown', 'no_classifier', 'missing', 'unexpected', 'shape'],
)
def test_conversion_refuses_another_network(change, message, small_release):
    with pytest.raises(InputError) as error:
        convert_release(change(small_release()), 'x.pth.tar')
    assert str(error.value) == f'x.pth.tar {message}: expected a released ResNet-50'


def test_import_writes_a_checkpoint_that_loads_and_predicts_the_same(small_release, tmp_path):
    net = small_release()
    released, out = str(tmp_path / 'released.pth.tar'), str(tmp_path / 'out.pth')
    torch.save({'net': net, 'acc': 78.76, 'epoch': 299, 'optimizer': {}}, released)
    assert import_release(released, out) == len(net)
    checkpoint = torch.load(out, weights_only=True)
    assert checkpoint['meta']['epoch'] == 299 and checkpoint['meta']['released_accuracy'] == 78.76
    assert {name: tensor.tolist() for name, tensor in checkpoint['state_dict'].items() if tensor.ndim == 1} == {
        release_key(name): tensor.tolist() for name, tensor in net.items() if tensor.ndim == 1
    }
    assert sorted(path.name for path in tmp_path.iterdir()) == ['out.pth', 'released.pth.tar']


def test_import_refuses_a_checkpoint_of_something_else_and_writes_nothing(tmp_path):
    other, out = tmp_path / 'other.pth', tmp_path / 'out.pth'
    torch.save({'state_dict': {}, 'meta': {}}, other)
    with pytest.raises(InputError) as error:
        import_release(str(other), str(out))
    assert str(error.value) == (
        f"{other} holds state_dict, meta: expected the entry net of the authors' released checkpoint"
    )
    assert not out.exists()
