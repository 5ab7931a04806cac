"""The networks of the paper's Table 1 beside ResNet-18, and ResNet-20, as the backbones of a MixSKDClassifier."""

import copy
import itertools

import pytest
import torch
from mmengine.config import Config
from mmpretrain.registry import MODELS
from tiny import ROOT
from torch import nn

from mixskd_mm.models.backbones.hcgnet import AttentionPool
from mixskd_mm.models.stages import stage_outputs

# Channels of F_k; parameters of backbone and head, b_1, b_2 and h with 100 classes; stage outputs for 32 x 32 images.
NETWORKS = {
    'WRN-16-2': (
        dict(type='WideResNet_CIFAR', depth=16, widen_factor=2),
        (703_284, 669_860, 538_340, 62_052),
        [(32, 32, 32), (64, 16, 16), (128, 8, 8)],
    ),
    'DenseNet-40-12': (
        dict(type='DenseNet_CIFAR', depth=40, growth_rate=12),
        (1_060_132, 925_540, 534_196, 647_012),
        [(160, 16, 16), (304, 8, 8), (448, 8, 8)],
    ),
    'HCGNet-A1': (
        dict(type='HCGNet_CIFAR'),
        (1_102_651, 1_055_563, 799_717, 555_688),
        [(120, 32, 32), (252, 16, 16), (414, 8, 8)],
    ),
    'ResNet-20': (
        dict(type='ThinResNet_CIFAR', depth=20),
        (278_324, 263_844, 212_196, 18_788),
        [(16, 32, 32), (32, 16, 16), (64, 8, 8)],
    ),
}
TABLE_1 = {'WRN-16-2': 'wrn16-2', 'DenseNet-40-12': 'densenet40-12', 'HCGNet-A1': 'hcgnet-a1'}
# The same networks with as few layers as possible.
SHORT = {
    'WRN': dict(type='WideResNet_CIFAR', depth=10, widen_factor=1),
    'DenseNet': dict(type='DenseNet_CIFAR', depth=7, growth_rate=4),
    'HCGNet': dict(type='HCGNet_CIFAR', growth_rates=(4, 4, 4), num_units=1),
    'ResNet': dict(type='ThinResNet_CIFAR', depth=8),
    'bottlenecks': dict(type='BottleneckResNet_CIFAR', depth=11),
    'MobileNet': dict(type='MobileNet_CIFAR', base_channels=4),
}

networks = pytest.mark.parametrize('backbone, parameters, shapes', NETWORKS.values(), ids=NETWORKS.keys())
short = pytest.mark.parametrize('backbone', SHORT.values(), ids=SHORT.keys())


def count(module):
    return sum(p.numel() for p in module.parameters())


def build(backbone, classifier='MixSKDClassifier', num_classes=10, width=None):
    width = width or MODELS.build(dict(backbone)).feat_dim
    head = dict(type='LinearClsHead', num_classes=num_classes, in_channels=width)
    neck = dict(type='GlobalAveragePooling')
    return MODELS.build(dict(type=classifier, backbone=dict(backbone), neck=neck, head=head)).train()


@networks
def test_parameters_and_shapes(backbone, parameters, shapes):
    model = build(backbone, num_classes=100, width=shapes[-1][0])
    parts = count(model.backbone) + count(model.head), *map(count, model.branches), count(model.self_teacher)
    assert parts == parameters
    outputs = stage_outputs(model.backbone, torch.randn(2, 3, 32, 32))
    assert [output.shape[1:] for output in outputs] == shapes
    for branch, output in zip(model.branches, outputs):
        assert branch(output).shape == outputs[-1].shape
        # After the final BN-ReLU, which every branch has for itself.
        assert (branch(output) >= 0).all() and (branch(output) == 0).any()
    assert (outputs[-1] >= 0).all() and (outputs[-1] == 0).any()


def without_effect(model):
    """Names of the biases that change nothing, by construction: their gradients are zero but for rounding.

    A softmax over the positions removes what all scores have in common, and a batch norm what all of its inputs have.
    """
    names = set()
    for name, module in model.named_modules():
        if isinstance(module, AttentionPool):
            names.add(f'{name}.score.bias')
        if isinstance(module, nn.Sequential):
            for i, (layer, following) in enumerate(itertools.pairwise(module)):
                if isinstance(following, nn.BatchNorm1d | nn.BatchNorm2d) and getattr(layer, 'bias', None) is not None:
                    names.add(f'{name}.{i}.bias')
    return names


def loss_of(model, batch):
    torch.manual_seed(0)
    return sum(model.loss(*batch).values())


@networks
@pytest.mark.parametrize('classifier', ['MixSKDClassifier', 'ImageClassifier'])
def test_every_parameter_gets_a_finite_gradient(classifier, backbone, parameters, shapes, make_batch):
    torch.manual_seed(0)
    model = build(backbone, classifier).double()
    batch = make_batch(3, dtype=torch.float64)
    loss = loss_of(model, batch)
    loss.backward()
    gradients = {name: p.grad for name, p in model.named_parameters()}
    assert [name for name, grad in gradients.items() if grad is None or not grad.isfinite().all()] == []
    idle = without_effect(model)
    # The smallest of the others is 7e-4, rounding leaves up to 1e-12.
    assert [name for name, grad in gradients.items() if name not in idle and grad.abs().max() < 1e-7] == []
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if name in idle:
                parameter.add_(torch.randn_like(parameter))
        torch.testing.assert_close(loss_of(model, batch), loss, rtol=1e-9, atol=0)


@networks
def test_branches_share_nothing_with_the_backbone_or_each_other(backbone, parameters, shapes):
    model = build(backbone)
    model.init_weights()
    parts = [model.backbone, *model.branches]
    pointers = [{tensor.data_ptr() for tensor in [*part.parameters(), *part.buffers()]} for part in parts]
    assert len(set.union(*pointers)) == sum(map(len, pointers))
    modules = [{id(module) for module in part.modules()} for part in parts]
    assert len(set.union(*modules)) == sum(map(len, modules))
    weights = {}
    for part in parts:
        for name, parameter in part.named_parameters():
            if parameter.ndim > 1:
                weights.setdefault(name.removeprefix('stages.'), []).append(parameter)
    copies = [group for group in weights.values() if len(group) > 1]
    assert [max(map(len, copies)), len(copies) > 5] == [3, True]
    for group in copies:
        assert all(not torch.equal(a, b) for i, a in enumerate(group) for b in group[:i])


@short
def test_convolutions_and_norms_are_initialised_as_in_mmpretrains_resnets_in_the_branches_too(backbone):
    """He, fan out: standard deviation sqrt(2 / (channels out * kernel height * kernel width))."""
    torch.manual_seed(0)
    model = build(backbone)
    model.init_weights()
    for part in (model.backbone, *model.branches):
        convolutions = [module.weight for module in part.modules() if isinstance(module, nn.Conv2d)]
        standardised = [weight.flatten() * (weight[:, 0].numel() / 2) ** 0.5 for weight in convolutions]
        assert torch.cat(standardised).std().item() == pytest.approx(1, rel=0.1)
        norms = [module for module in part.modules() if isinstance(module, nn.BatchNorm1d | nn.BatchNorm2d)]
        assert all((norm.weight == 1).all() and (norm.bias == 0).all() for norm in norms)


@short
def test_the_state_dict_is_all_there_is(backbone):
    """Two networks with the same state give the same outputs: nothing else is drawn, counted or remembered."""
    first, second, images = MODELS.build(dict(backbone)), MODELS.build(dict(backbone)), torch.randn(2, 3, 16, 16)
    first(images)
    second.load_state_dict(first.state_dict())
    clone = copy.deepcopy(first)
    in_training, predicted = [], []
    for network in (first, second, clone):
        in_training.append(network(images)[0])
        network.eval()
        predicted.append(network(images)[0])
    for outputs in (in_training, predicted):
        assert torch.equal(outputs[0], outputs[1]) and torch.equal(outputs[0], outputs[2])
    assert not torch.equal(in_training[0], predicted[0])


@short
def test_compiles_to_a_single_graph(backbone):
    torch._dynamo.reset()
    network, images = MODELS.build(dict(backbone)), torch.randn(2, 3, 8, 8)
    # Any break of the graph is an error.
    compiled = torch.compile(copy.deepcopy(network), backend='eager', fullgraph=True)
    torch.testing.assert_close(compiled(images)[0], network(images)[0])
    torch._dynamo.reset()


@short
def test_keeps_channels_last_and_gives_the_same_numbers(backbone):
    network = MODELS.build(dict(backbone, out_indices=(0, 1, 2))).double()
    images = torch.randn(2, 3, 16, 16, dtype=torch.float64)
    expected = network(images)
    outputs = network.to(memory_format=torch.channels_last)(images.contiguous(memory_format=torch.channels_last))
    for output, other in zip(outputs, expected, strict=True):
        assert output.is_contiguous(memory_format=torch.channels_last)
        torch.testing.assert_close(output, other, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize('network', TABLE_1)
def test_a_config_takes_the_network_in_the_place_of_its_resnet18(network, tmp_path):
    bases = [str(ROOT / 'configs' / path) for path in (
        'cifar100/mixskd_r18_cifar100.py', f'_base_/networks/{TABLE_1[network]}.py'
    )]  # fmt: skip
    path = tmp_path / 'config.py'
    path.write_text(f'_base_ = {bases}\nmodel = _base_.network\n')
    model = Config.fromfile(path).model
    backbone, parameters, _ = NETWORKS[network]
    assert {**model.backbone, **backbone} == model.backbone
    assert 'zero_init_residual' not in model.backbone
    model = MODELS.build(model)
    assert type(model).__name__ == 'MixSKDClassifier'
    assert count(model.backbone) + count(model.head) == parameters[0]
