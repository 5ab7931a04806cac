import pytest
import torch
from mmpretrain.models.backbones.resnet import BasicBlock, Bottleneck
from torch import nn

from mixskd_mm.models import BottleneckResNet_CIFAR, ThinResNet_CIFAR


@pytest.mark.parametrize(
    'arguments, expected',
    [
        (dict(depth=20), 278_324),
        (dict(depth=32), 472_756),
        (dict(depth=56), 861_620),
        (dict(depth=110), 1_736_564),
        (dict(depth=8, stem_channels=32, base_channels=64), 1_233_540),
        (dict(depth=32, stem_channels=32, base_channels=64), 7_433_860),
    ],
    ids=['20', '32', '56', '110', '8x4', '32x4'],
)
def test_parameters_with_a_classifier_of_100_classes(arguments, expected):
    backbone = ThinResNet_CIFAR(**arguments)
    assert sum(p.numel() for p in backbone.parameters()) + 100 * backbone.feat_dim + 100 == expected


def test_depth_counts_the_3x3_convolutions_and_the_classifier():
    convolutions = [m for m in ThinResNet_CIFAR(56).modules() if isinstance(m, nn.Conv2d)]
    assert [c.kernel_size for c in convolutions].count((3, 3)) + 1 == 56
    assert [c.kernel_size for c in convolutions].count((1, 1)) == 2


def test_resnet_164_has_54_bottlenecks_and_relu_after_the_sum():
    backbone = BottleneckResNet_CIFAR(out_indices=(0, 1, 2))
    blocks = [module for module in backbone.modules() if isinstance(module, Bottleneck)]
    assert [(block.mid_channels, block.out_channels) for block in blocks] == (
        18 * [(16, 64)] + 18 * [(32, 128)] + 18 * [(64, 256)]
    )
    convolutions = [m for m in backbone.modules() if isinstance(m, nn.Conv2d)]
    # Those of the blocks, the first one and the classifier make 164; three more are shortcuts.
    assert len(convolutions) - 3 + 1 == 164
    strides = [c.stride for c in convolutions if c.kernel_size == (3, 3) and c.stride != (1, 1)]
    assert strides == [(2, 2), (2, 2)]
    outputs = backbone(torch.randn(2, 3, 32, 32))
    assert [output.shape[1:] for output in outputs] == [(64, 32, 32), (128, 16, 16), (256, 8, 8)]
    assert all((output >= 0).all() and (output == 0).any() for output in outputs)


@pytest.mark.parametrize('arguments, weight', [(dict(), 1), (dict(zero_init_residual=True), 0)])
def test_residual_branches_start_at_zero_only_if_asked_to(arguments, weight):
    backbone = ThinResNet_CIFAR(**arguments)
    backbone.init_weights()
    blocks = [module for module in backbone.modules() if isinstance(module, BasicBlock)]
    assert len(blocks) == 9
    assert all((block.norm2.weight == weight).all() for block in blocks)


def test_other_arguments_reach_mmpretrains_resnet():
    backbone = ThinResNet_CIFAR(8, norm_cfg=dict(type='GN', num_groups=4), frozen_stages=1)
    assert not any(isinstance(module, nn.BatchNorm2d) for module in backbone.modules())
    assert [backbone.layer1[0].conv1.weight.requires_grad, backbone.layer2[0].conv1.weight.requires_grad] == [
        False,
        True,
    ]
