"""Parity with the authors' released ResNet-50, and the conversion of its checkpoint.

``tests/data/release_r50.json`` was measured once on the released training graph, in float32 on one thread, with weights
and inputs that a seed determines: ``fill`` and ``inputs`` below make them again. Here the graph runs in float64, so kernels
and threads do not matter (1e-15). What differs is the rounding of the golden numbers, and of the weights: with and without
vector instructions ``randn`` differs in the last bits. The largest relative differences from the golden numbers:

                                            terms    gradient norms of                        logits in
                                                     conv1    b_1, first   fc, fc1, h's conv  evaluation
    float64, AVX2 or AVX-512                4.6e-06  1.1e-03  8.5e-04      7.7e-04            4.4e-06
    float64, no vectors                     1.6e-06  8.7e-04  2.4e-04      7.7e-04            1.3e-05
    float32, AVX-512, 1 thread              1.6e-06  8.2e-05  4.7e-04      2.3e-07            5.8e-06
    float32, AVX-512, 2 or 4 threads        1.4e-06  8.1e-04  2.1e-04      1.5e-07            8.3e-06
    float32, AVX-512, ATen without vectors  2.1e-06  6.0e-04  8.2e-04      6.1e-07            9.8e-06
    float32, AVX2, 1 thread                 1.7e-06  4.0e-04  1.8e-04      3.8e-07            6.7e-06
    float32, AVX2, 2 threads                1.1e-06  1.3e-03  3.0e-04      3.8e-07            1.2e-05
    float32, SSE4.1, 1 thread               1.9e-06  2.2e-04  3.7e-04      3.0e-07            2.1e-05
    float32, SSE4.1, 4 threads              1.6e-06  6.1e-04  1.0e-03      3.0e-07            1.5e-05

(PyTorch 2.11 on a Xeon; ``ONEDNN_MAX_CPU_ISA``, with ``ATEN_CPU_CAPABILITY=avx2`` for AVX2, ``default`` for SSE4.1 and no
vectors. On an EPYC one of the five norms differed by 1.2e-3.) The fifth column is large in float64 only: the golden norms of
millions of values were summed up in float32.
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
from torch import nn

from mixskd_mm.checkpoints import release
from mixskd_mm.checkpoints.release import convert_release, import_release, release_config, release_key
from mixskd_mm.errors import InputError
from mixskd_mm.models import Mixture
from mixskd_mm.models.losses import feature_loss, kd_loss

GOLDEN = json.loads((Path(__file__).parents[1] / 'data' / 'release_r50.json').read_text())
# Relative: three to eight times what float64 differs by.
TERMS, NORMS, LOGITS = 3e-5, 3e-3, 1e-4


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
def network():
    """The released network with golden weights, in float64."""
    model = MODELS.build(release_config(GOLDEN['num_classes']))
    with torch.no_grad():
        for name, tensor in model.state_dict().items():
            fill(tensor, released_name(name))
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            # Its running statistics stay golden, whatever is run before.
            module.momentum = 0.0
    return model.double()


@pytest.fixture
def golden_model(network):
    return network.train()


def losses_of(model, mixture=None):
    images, labels, index = inputs()
    samples = [DataSample().set_gt_label(label) for label in labels]
    return model.loss(images.double(), samples, mixture or Mixture(GOLDEN['lam'], index))


@torch.no_grad()
def terms_of(model, mixture=None):
    return {name.removeprefix('loss_'): loss.item() for name, loss in losses_of(model, mixture).items()}


def gradient_norms(model):
    parameters = {released_name(name): p for name, p in model.named_parameters()}
    gradients = torch.autograd.grad(sum(losses_of(model).values()), [parameters[name] for name in GOLDEN['grad_norms']])
    return {name: grad.norm().item() for name, grad in zip(GOLDEN['grad_norms'], gradients, strict=True)}


def test_inference_of_the_release(network):
    """Backbone and classifier alone, running statistics 0 and 1."""
    images, _, _ = inputs()
    with torch.no_grad():
        logits = network.eval()(images[:2].double())[:, :6]
    expected = torch.tensor(GOLDEN['eval_logits'], dtype=torch.float64)
    torch.testing.assert_close(logits, expected, rtol=LOGITS, atol=0)


def test_losses_of_the_release(golden_model, monkeypatch):
    assert golden_model.temperature == GOLDEN['T']
    terms = terms_of(golden_model)
    # loss_cls is the sum of the release's two: the clean half of it is what is left without the mixed one.
    monkeypatch.setattr(golden_model, 'mixed_weight', 0)
    terms['cls_clean'] = terms_of(golden_model)['cls']
    terms['cls_mixed'] = terms.pop('cls') - terms['cls_clean']
    assert terms == pytest.approx(GOLDEN['terms'], rel=TERMS)


def test_gradients_of_the_release(golden_model):
    assert gradient_norms(golden_model) == pytest.approx(GOLDEN['grad_norms'], rel=NORMS)


@pytest.fixture(scope='module')
def feature_slope(network):
    """A direction in which the first convolution's weights move, and by how much the feature term changes with it.

    The five norms hardly depend on the feature term: with one side of it detached they differ by 6e-4 or 3e-3 from the
    golden ones, hardly more than those are rounded by. But its value is golden to 1e-6, and so is the slope of its value.
    """
    weight, step, values = network.train().backbone.conv1.weight, 1e-8, []
    direction = torch.randn(weight.shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    for sign in (1, -1):
        weight.data.add_(direction, alpha=sign * step)
        values.append(terms_of(network)['feature'])
        weight.data.sub_(direction, alpha=sign * step)
    # ReLUs that switch within the step make it inexact by 7e-3; a detached side changes the gradient's slope by 160 %.
    return direction, pytest.approx((values[0] - values[1]) / (2 * step), rel=0.1)


def slope_of_the_gradient(model, direction):
    (gradient,) = torch.autograd.grad(losses_of(model)['loss_feature'], model.backbone.conv1.weight)
    return (gradient * direction).sum().item()


def test_the_feature_terms_gradient_is_that_of_its_golden_value(golden_model, feature_slope):
    direction, slope = feature_slope
    assert slope_of_the_gradient(golden_model, direction) == slope


@pytest.mark.parametrize(
    'detached',
    [lambda a, b: feature_loss(a.detach(), b), lambda a, b: feature_loss(a, b.detach())],
    ids=['interpolated', 'mixed'],
)
def test_a_detached_side_of_the_feature_term_is_noticed(detached, golden_model, feature_slope, monkeypatch):
    direction, slope = feature_slope
    monkeypatch.setattr(golden_model.feature_loss, 'forward', detached)
    assert slope_of_the_gradient(golden_model, direction) != slope


def test_teachers_that_are_not_detached_are_noticed(golden_model, monkeypatch):
    def attached(student, teacher):
        log_p, log_q = ((z / 3).log_softmax(1) for z in (student, teacher))
        return 9 * nn.functional.kl_div(log_p, log_q, reduction='batchmean', log_target=True)

    monkeypatch.setattr(golden_model.kd_loss, 'forward', attached)
    assert gradient_norms(golden_model) != pytest.approx(GOLDEN['grad_norms'], rel=NORMS)


class OtherPairs(Mixture):
    """Images i are mixed with j, maps and logits with those of which i is the j."""

    def __call__(self, x):
        index = self.index if x.shape[1] == 3 else self.index.argsort()
        return self.lam * x + (1 - self.lam) * x[index]


def over_n(model, monkeypatch):
    """BatchNorm sees the clean images and the mixed ones separately."""
    forward = nn.BatchNorm2d.forward
    halves = lambda self, x: torch.cat([forward(self, half) for half in x.chunk(2)])  # noqa: E731
    monkeypatch.setattr(nn.BatchNorm2d, 'forward', halves)


def without_squared_temperature(model, monkeypatch):
    monkeypatch.setattr(model.kd_loss, 'forward', lambda student, teacher: kd_loss(student, teacher, 3) / 9)


@pytest.mark.parametrize(
    'error, mixture, wrong',
    [
        (without_squared_temperature, Mixture, {'b_logit', 'f_logit'}),
        (over_n, Mixture, {'cls', 'cls_h', 'f_logit', 'b_logit', 'feature'}),
        (lambda model, monkeypatch: None, OtherPairs, {'cls_h', 'f_logit', 'b_logit', 'feature'}),
    ],
    ids=['T2', 'batch_norm', 'pairs'],
)
def test_an_error_shows_in_the_terms_that_have_it(error, mixture, wrong, golden_model, monkeypatch):
    golden = dict(GOLDEN['terms'])
    golden['cls'] = golden['cls_clean'] + golden['cls_mixed']
    error(golden_model, monkeypatch)
    terms = terms_of(golden_model, mixture(GOLDEN['lam'], inputs()[2]))
    assert {name for name, value in terms.items() if value != pytest.approx(golden[name], rel=TERMS)} == wrong


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
