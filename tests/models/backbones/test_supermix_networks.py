"""The networks of SuperMix's supplement: their numbers of parameters, their shapes, and what is special in each."""

import pytest
import torch
import torch.nn.functional as F
from mmpretrain.registry import MODELS
from torch import nn

from mixskd_mm.errors import InputError
from mixskd_mm.models import VGG_CIFAR, AuxiliaryBranch, MobileNetV2_CIFAR
from mixskd_mm.models.backbones.mobilenet_v2 import InvertedResidual
from mixskd_mm.models.backbones.shake_shake import ShakeBlock, SplitShortcut, shake
from mixskd_mm.models.backbones.shufflenet import ShuffleUnit
from mixskd_mm.models.stages import stage_outputs


def thin(depth, **kwargs):
    return dict(type='ThinResNet_CIFAR', depth=depth, **kwargs)


def wide(depth, factor, **kwargs):
    return dict(type='WideResNet_CIFAR', depth=depth, widen_factor=factor, **kwargs)


TIMES_FOUR = dict(stem_channels=32, base_channels=64)
# Supplement 1.2, 1.3 and 2: parameters with 100 classes, and with 1,000 on ImageNet.
PARAMETERS = {
    'WRN-40-2': (wide(40, 2), 2_255_156),
    'WRN-40-1': (wide(40, 1), 569_780),
    'WRN-16-2': (wide(16, 2), 703_284),
    'ResNet20': (thin(20), 278_324),
    'ResNet32': (thin(32), 472_756),
    'ResNet56': (thin(56), 861_620),
    'ResNet110': (thin(110), 1_736_564),
    'ResNet8x4': (thin(8, **TIMES_FOUR), 1_233_540),
    'ResNet32x4': (thin(32, **TIMES_FOUR), 7_433_860),
    'ResNet50': (dict(type='ResNet_CIFAR', depth=50), 23_705_252),
    'VGG13': (dict(type='VGG_CIFAR', depth=13), 9_462_180),
    'VGG8': (dict(type='VGG_CIFAR', depth=8), 3_965_028),
    'MobileNetV2': (dict(type='MobileNetV2_CIFAR', widen_factor=0.5), 812_836),
    'ShuffleNetV1': (dict(type='ShuffleNetV1_CIFAR'), 949_258),
    'ShuffleNetV2': (dict(type='ShuffleNetV2_CIFAR'), 1_355_528),
    'ResNet34, ImageNet': (dict(type='ResNet', depth=34), 21_797_672),
    'ResNet18, ImageNet': (dict(type='ResNet', depth=18), 11_689_512),
    'WRN-40-2 with biases': (wide(40, 2, conv_bias=True), 2_258_084),
    'WRN-28-10 with biases': (wide(28, 10, conv_bias=True), 36_546_980),
    'SS-(26 2x96d)': (dict(type='ShakeShake_CIFAR', depth=26, base_channels=96), 26_366_404),
}
# Outputs of the stages for 32 x 32 images.
SHAPES = {
    'VGG8': (PARAMETERS['VGG8'][0], [(64, 32), (128, 16), (256, 8), (512, 4), (512, 4)]),
    'MobileNetV2': (PARAMETERS['MobileNetV2'][0], [(12, 16), (16, 8), (48, 4), (1280, 2)]),
    'ShuffleNetV1': (PARAMETERS['ShuffleNetV1'][0], [(240, 16), (480, 8), (960, 4)]),
    'ShuffleNetV2': (PARAMETERS['ShuffleNetV2'][0], [(116, 16), (232, 8), (1024, 4)]),
    'Shake-Shake': (dict(type='ShakeShake_CIFAR', depth=8, base_channels=4), [(4, 32), (8, 16), (16, 8)]),
    'WRN with biases': (wide(10, 1, conv_bias=True), [(16, 32), (32, 16), (64, 8)]),
}

networks = pytest.mark.parametrize(('config', 'shapes'), SHAPES.values(), ids=SHAPES)


@pytest.mark.parametrize(('config', 'expected'), PARAMETERS.values(), ids=PARAMETERS)
def test_parameters_are_those_of_the_supplement(config, expected):
    backbone = MODELS.build(dict(config))
    classes = 1000 if config['type'] == 'ResNet' else 100
    assert sum(p.numel() for p in backbone.parameters()) + (backbone.feat_dim + 1) * classes == expected


@networks
def test_stages_and_branches(config, shapes):
    backbone = MODELS.build(dict(config))
    backbone.eval()
    images = torch.randn(2, 3, 32, 32)
    with torch.no_grad():
        outputs = stage_outputs(backbone, images)
        assert [tuple(output.shape[1:]) for output in outputs] == [(c, size, size) for c, size in shapes]
        assert torch.equal(backbone(images)[0], outputs[-1])
        assert backbone.feat_dim == shapes[-1][0]
        assert AuxiliaryBranch(backbone, 1, 10)(outputs[0]).shape == outputs[-1].shape


@networks
def test_each_parameter_gets_a_gradient_and_predictions_are_of_one_image(config, shapes):
    torch.manual_seed(0)
    backbone = MODELS.build(dict(config)).double()
    backbone.init_weights()
    images = torch.randn(4, 3, 32, 32, dtype=torch.float64)
    (backbone(images)[-1].mean((2, 3)) ** 2).sum().backward()
    grads = {name: parameter.grad for name, parameter in backbone.named_parameters()}
    assert [name for name, grad in grads.items() if grad is None or not grad.isfinite().all()] == []
    assert [name for name, grad in grads.items() if grad.ndim > 1 and not grad.any()] == []
    backbone.eval()
    with torch.no_grad():
        torch.testing.assert_close(backbone(images)[-1][:1], backbone(images[:1])[-1])


def randomised(module):
    """In evaluation mode, with norms that do something."""
    generator = torch.Generator().manual_seed(0)
    for name, tensor in [*module.named_parameters(), *module.named_buffers()]:
        if tensor.is_floating_point() and tensor.ndim == 1:
            tensor.data.uniform_(0.5 if 'var' in name or 'weight' in name else -0.5, 1.5, generator=generator)
    return module.double().eval()


def conv_norm(x, conv, norm):
    x = F.conv2d(x, conv.weight, conv.bias, conv.stride, conv.padding, groups=conv.groups)
    shape = (1, -1, 1, 1)
    scale = norm.weight / (norm.running_var + norm.eps).sqrt()
    return x * scale.view(shape) + (norm.bias - norm.running_mean * scale).view(shape)


def features(channels=6, size=6):
    return torch.randn(2, channels, size, size, generator=torch.Generator().manual_seed(1), dtype=torch.float64)


@torch.no_grad()
@pytest.mark.parametrize(('out_channels', 'stride'), [(6, 1), (8, 1), (6, 2)])
def test_inverted_residual(out_channels, stride):
    block, x = randomised(InvertedResidual(6, out_channels, stride, expansion=1)), features()
    y = F.relu(conv_norm(x, block.expand.conv, block.expand.norm))
    y = F.relu(conv_norm(y, block.depthwise.conv, block.depthwise.norm))
    y = conv_norm(y, *block.project)
    expected = y + x if (out_channels, stride) == (6, 1) else y
    assert block.depthwise.conv.groups == 6
    torch.testing.assert_close(block(x), expected)


@torch.no_grad()
@pytest.mark.parametrize('stride', [1, 2])
def test_shuffle_unit(stride):
    x = features(12)
    unit = randomised(ShuffleUnit(12, 12 if stride == 1 else 36, stride, groups=3, first_groups=3))
    y = F.relu(conv_norm(x, unit.reduce.conv, unit.reduce.norm))
    # Channels of three groups take turns.
    inner = y.shape[1]
    y = y[:, torch.arange(inner).view(3, -1).T.flatten()]
    y = F.relu(conv_norm(y, unit.depthwise.conv, unit.depthwise.norm))
    y = conv_norm(y, *unit.expand)
    expected = y + x if stride == 1 else torch.cat([y, F.avg_pool2d(x, 3, 2, 1)], 1)
    torch.testing.assert_close(unit(x), F.relu(expected))
    assert (unit.reduce.conv.groups, unit.expand[0].groups, unit.depthwise.conv.groups) == (3, 3, inner)


def test_vgg_pools_three_times_and_has_biases():
    backbone = VGG_CIFAR(13)
    pools = [any(isinstance(layer, nn.MaxPool2d) for layer in getattr(backbone, name)) for name in backbone.res_layers]
    assert pools == [False, True, True, True, False]
    convolutions = [module for module in backbone.modules() if isinstance(module, nn.Conv2d)]
    assert len(convolutions) == 10 and all(module.bias is not None for module in convolutions)


def test_mobilenet_rounds_channels_down():
    narrow = MobileNetV2_CIFAR(0.3)
    assert [narrow.stage_channels[0], *narrow.stage_channels[1:]] == [9, 7, 9, 28, 1280]
    assert not any(isinstance(module, nn.ReLU6) for module in narrow.modules())


def test_shaking_mixes_forward_and_backward_with_other_numbers():
    torch.manual_seed(0)
    x, y = (torch.ones(2000, 1, 1, 1, requires_grad=True), torch.zeros(2000, 1, 1, 1, requires_grad=True))
    out = shake(x, y)
    out.sum().backward()
    alpha, beta = out.detach().flatten(), x.grad.flatten()
    torch.testing.assert_close(y.grad.flatten(), 1 - beta)
    for draws in (alpha, beta):
        # Uniform in (0, 1): five standard deviations of the mean.
        assert draws.min() >= 0 and draws.max() <= 1 and abs(draws.mean() - 0.5) < 5 * (1 / 12 / 2000) ** 0.5
    assert abs(torch.corrcoef(torch.stack([alpha, beta]))[0, 1]) < 0.1


def test_a_block_averages_its_branches_when_it_predicts():
    block, x = randomised(ShakeBlock(6, 6, 1)), features()
    with torch.no_grad():
        torch.testing.assert_close(block(x), x + (block.branch1(x) + block.branch2(x)) / 2)
        block.train()
        assert not torch.equal(block(x), block(x))


@torch.no_grad()
def test_the_shortcut_reads_pixels_that_lie_one_apart():
    shortcut, x = randomised(SplitShortcut(6, 8, 2)), features()
    y = F.relu(x)
    shifted = torch.zeros_like(y)
    shifted[:, :, :-1, :-1] = y[:, :, 1:, 1:]
    halves = [
        F.conv2d(one[:, :, ::2, ::2], conv.weight) for one, conv in ((y, shortcut.conv1), (shifted, shortcut.conv2))
    ]
    torch.testing.assert_close(shortcut(x), shortcut.norm(torch.cat(halves, 1)))


@pytest.mark.parametrize(
    ('config', 'message'),
    [
        (dict(type='VGG_CIFAR', depth=16), 'VGG_CIFAR depth=16: expected 8 or 13'),
        (
            dict(type='MobileNetV2_CIFAR', widen_factor=0),
            'MobileNetV2_CIFAR widen_factor=0: expected a finite number > 0',
        ),
        (
            dict(type='ShakeShake_CIFAR', depth=25),
            'ShakeShake_CIFAR depth=25: expected 6n + 2 with an integer n >= 1 (8, 14, 20, ...)',
        ),
        (
            dict(type='ShuffleNetV1_CIFAR', out_indices=(3,)),
            'ShuffleNetV1_CIFAR out_indices=(3,): expected a sequence of different stages from 0 to 2, such as (2,)',
        ),
    ],
)
def test_wrong_arguments_end_in_one_line(config, message):
    with pytest.raises(InputError) as error:
        MODELS.build(config)
    assert str(error.value) == message
