"""The paper's heads against plain PyTorch with the same weights."""

import pytest
import torch
import torch.nn.functional as F
from mmengine.registry import MODELS
from torch import nn

import mixskd_mm  # noqa: F401  (registers everything)
from mixskd_mm.errors import InputError

DILATIONS = (1, 12, 24, 36)


def aspp(**kwargs):
    defaults = dict(
        in_channels=32, in_index=3, channels=16, num_classes=5, align_corners=True, norm_cfg=dict(type='BN')
    )
    return MODELS.build(dict(type='ProjectedASPPHead', **{**defaults, **kwargs}))


def fcn(**kwargs):
    defaults = dict(in_channels=24, in_index=2, channels=16, num_convs=1, concat_input=False, num_classes=5)
    return MODELS.build(dict(type='ElementDropoutFCNHead', norm_cfg=dict(type='BN'), **{**defaults, **kwargs}))


def randomise(module):
    """Weights, biases and statistics that no mistake can hide behind."""
    generator = torch.Generator().manual_seed(1)
    for name, value in module.state_dict().items():
        if value.is_floating_point():
            noise = torch.rand(value.shape, generator=generator)
            value.copy_(noise + 0.5 if 'var' in name or value.ndim == 1 else (noise - 0.5) * 0.3)
    return module


def block(state, prefix, dilation=1):
    """conv-BN-ReLU with the tensors of an mmcv ConvModule."""
    weight = state[f'{prefix}.conv.weight']
    statistics = [state[f'{prefix}.bn.{name}'] for name in ('running_mean', 'running_var', 'weight', 'bias')]
    padding = dilation * (weight.shape[-1] // 2)
    return lambda x: F.relu(F.batch_norm(F.conv2d(x, weight, padding=padding, dilation=dilation), *statistics))


def reference(state, x):
    """The head in eval mode, as the authors' code has it: ASPP, projection, 3x3, classifier."""
    pooled = block(state, 'image_pool.1')(x.mean((2, 3), keepdim=True))
    branches = [pooled.expand(-1, -1, *x.shape[2:])]
    branches += [block(state, f'aspp_modules.{i}', dilation)(x) for i, dilation in enumerate(DILATIONS)]
    x = block(state, 'bottleneck.0')(torch.cat(branches, 1))
    x = block(state, 'bottleneck.2')(x)
    return F.conv2d(x, state['conv_seg.weight'], state['conv_seg.bias'])


@torch.no_grad()
def test_forward_equals_reference():
    head = randomise(aspp()).eval()
    features = [None, None, None, torch.randn(2, 32, 9, 7)]
    logits = head(features)
    assert logits.shape == (2, 5, 9, 7)
    torch.testing.assert_close(logits, reference(head.state_dict(), features[3]), rtol=1e-4, atol=1e-5)


@torch.no_grad()
def test_auxiliary_forward_equals_reference():
    head = randomise(fcn()).eval()
    features = [None, None, torch.randn(2, 24, 9, 7)]
    state = head.state_dict()
    expected = F.conv2d(block(state, 'convs.0')(features[2]), state['conv_seg.weight'], state['conv_seg.bias'])
    torch.testing.assert_close(head(features), expected, rtol=1e-4, atol=1e-5)


def test_number_of_parameters():
    """Of the paper's ResNet-50 head: 2048 input channels, 256 channels."""
    c, n, classes = 2048, 256, 21
    convolutions = c * n + 3 * 9 * c * n + c * n + 5 * n * n + 9 * n * n
    norms = 2 * n * (5 + 1 + 1)
    head = aspp(in_channels=c, channels=n, num_classes=classes)
    assert sum(p.numel() for p in head.parameters()) == convolutions + norms + n * classes + classes == 16_130_837
    aux = fcn(in_channels=1024, channels=n, num_classes=classes)
    assert sum(p.numel() for p in aux.parameters()) == 9 * 1024 * n + 2 * n + n * classes + classes


def test_dropouts():
    dropouts = [(type(m), m.p) for m in aspp().modules() if isinstance(m, nn.Dropout | nn.Dropout2d)]
    assert sorted(dropouts, key=str) == [(nn.Dropout, 0.1), (nn.Dropout, 0.5)]
    assert aspp(project_dropout_ratio=0.3).bottleneck[1].p == 0.3
    assert [(type(m), m.p) for m in fcn().modules() if isinstance(m, nn.Dropout | nn.Dropout2d)] == [(nn.Dropout, 0.1)]
    assert aspp(dropout_ratio=0).dropout.p == 0


@pytest.mark.parametrize('build', [aspp, fcn])
def test_dropout_before_the_classifier_drops_single_values(build):
    head = build(dropout_ratio=0.5).train()
    seen = []
    head.conv_seg.register_forward_pre_hook(lambda module, inputs: seen.append(inputs[0]))
    head.cls_seg(torch.ones(1, 16, 20, 20))
    dropped = (seen[0] == 0).float().mean((2, 3))
    assert ((dropped > 0.3) & (dropped < 0.7)).all()


@pytest.mark.parametrize('name', ['dropout_ratio', 'project_dropout_ratio'])
@pytest.mark.parametrize('value', [1.0, -0.1, '0.5', float('nan'), True])
def test_refuses_other_dropout_ratios(name, value):
    with pytest.raises(InputError, match=name) as error:
        aspp(**{name: value})
    assert repr(value) in str(error.value)
