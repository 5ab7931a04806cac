import torch
import torch.nn.functional as F
from layer_reference import batch_norm_relu, norm_relu_conv, random_maps, randomised
from torch import nn

from mixskd_mm.models.backbones.densenet import DenseLayer, DenseNet_CIFAR


def test_parameters_with_a_classifier_of_100_classes():
    backbone = DenseNet_CIFAR(depth=40, growth_rate=12)
    assert sum(p.numel() for p in backbone.parameters()) + 100 * backbone.feat_dim + 100 == 1_060_132


def test_depth_counts_the_layers_the_two_transitions_the_first_convolution_and_the_classifier():
    backbone = DenseNet_CIFAR(depth=40)
    convolutions = [module for module in backbone.modules() if isinstance(module, nn.Conv2d)]
    assert len(convolutions) + 1 == 40
    assert [c.kernel_size for c in convolutions].count((3, 3)) == 1 + 36
    assert all(c.bias is None for c in convolutions)


def test_layer_appends_what_is_new_to_its_input():
    layer, x = randomised(DenseLayer(5, 3)), random_maps(3, 5, 6, 4)
    output = layer(x)
    assert output.shape == (3, 8, 6, 4)
    assert torch.equal(output[:, :5], x)
    torch.testing.assert_close(output[:, 5:], norm_relu_conv(layer.conv, x, padding=1), rtol=1e-10, atol=1e-10)


def test_stages_are_dense_blocks_with_the_transitions_that_follow_them():
    backbone = randomised(DenseNet_CIFAR(depth=10, growth_rate=4, out_indices=(0, 1, 2)))
    images = random_maps(2, 3, 8, 12)
    outputs = backbone(images)
    y, expected = F.conv2d(images, backbone.conv1.weight, padding=1), []
    for stage in (backbone.layer1, backbone.layer2, backbone.layer3):
        y = stage[1](stage[0](y))
        if hasattr(stage, 'transition'):
            y = norm_relu_conv(stage.transition[0], y)
            y = (y[:, :, ::2, ::2] + y[:, :, 1::2, ::2] + y[:, :, ::2, 1::2] + y[:, :, 1::2, 1::2]) / 4
        else:
            y = batch_norm_relu(stage.norm, y)
        expected.append(y)
    assert [y.shape[1:] for y in expected] == [(24, 4, 6), (32, 2, 3), (40, 2, 3)]
    for output, other in zip(outputs, expected, strict=True):
        torch.testing.assert_close(output, other, rtol=1e-10, atol=1e-10)
