import pytest
import torch
import torch.nn.functional as F
from layer_reference import batch_norm_relu, norm_relu_conv, random_maps, randomised
from mmpretrain.registry import MODELS

from mixskd_mm.models.backbones.wide_resnet import PreActivationBlock, WideResNet_CIFAR


def count(module):
    return sum(p.numel() for p in module.parameters())


@pytest.mark.parametrize(
    'depth, widen_factor, expected', [(16, 2, 703_284), (40, 2, 2_255_156), (40, 1, 569_780), (28, 10, 36_536_884)]
)
def test_parameters_with_a_classifier_of_100_classes(depth, widen_factor, expected):
    with torch.device('meta'):
        backbone = MODELS.build(dict(type='WideResNet_CIFAR', depth=depth, widen_factor=widen_factor))
    assert backbone.feat_dim == 64 * widen_factor
    assert count(backbone) + 100 * backbone.feat_dim + 100 == expected


def test_block_of_constant_width_adds_its_input_as_it_is():
    block, x = randomised(PreActivationBlock(5, 5, stride=1)), random_maps(3, 5, 6, 4)
    y = F.conv2d(batch_norm_relu(block.norm1, x), block.conv1.weight, padding=1)
    expected = x + norm_relu_conv(block.residual, y, padding=1)
    torch.testing.assert_close(block(x), expected, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize('stride', [1, 2])
def test_block_that_changes_the_width_projects_its_activated_input(stride):
    block, x = randomised(PreActivationBlock(4, 7, stride)), random_maps(3, 4, 6, 8)
    activated = batch_norm_relu(block.norm1, x)
    y = F.conv2d(activated, block.conv1.weight, padding=1, stride=stride)
    projection = block.shortcut.weight[:, :, 0, 0]
    shortcut = torch.einsum('oc,nchw->nohw', projection, activated[:, :, ::stride, ::stride])
    expected = shortcut + norm_relu_conv(block.residual, y, padding=1)
    torch.testing.assert_close(block(x), expected, rtol=1e-10, atol=1e-10)


def test_three_groups_after_a_bare_convolution_and_a_final_norm_and_relu():
    backbone = randomised(WideResNet_CIFAR(depth=16, widen_factor=1, out_indices=(0, 1, 2)))
    images = random_maps(2, 3, 8, 8)
    outputs = backbone(images)
    y, expected = F.conv2d(images, backbone.conv1.weight, padding=1), []
    for group in (backbone.layer1, backbone.layer2, backbone.layer3):
        assert [type(module) for module in group][:2] == [PreActivationBlock] * 2
        y = group[1](group[0](y))
        expected.append(y)
    expected[-1] = batch_norm_relu(backbone.layer3.norm, y)
    assert [len(backbone.layer1), len(backbone.layer2), len(backbone.layer3)] == [2, 2, 4]
    for output, other in zip(outputs, expected, strict=True):
        torch.testing.assert_close(output, other, rtol=1e-10, atol=1e-10)
    # With k = 1 the first group keeps 16 channels and has no projection.
    projections = [
        module.shortcut is not None for module in backbone.modules() if isinstance(module, PreActivationBlock)
    ]
    assert projections == [False, False, True, False, True, False]
