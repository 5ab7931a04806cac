"""The auxiliary classifiers of DCM: sizes by the supplement's tables, outputs and gradients of the authors' WRN."""

import contextlib
import json
import re
import zlib
from pathlib import Path
from unittest import mock

import pytest
import torch
import torch.nn.functional as F
from mmpretrain.models.backbones.resnet import BasicBlock
from mmpretrain.registry import MODELS
from torch import nn

from mixskd_mm.errors import InputError
from mixskd_mm.models import AuxiliaryBranch, DCMBranches
from mixskd_mm.models.recompute import checkpoint_activations
from mixskd_mm.models.stages import stage_names, stage_outputs

# Measured once on the authors' functional WRN-16-1, with weights that a seed determines.
GOLDEN = json.loads((Path(__file__).parents[1] / 'data' / 'dcm_wrn.json').read_text())


def count(module):
    return sum(parameter.numel() for parameter in module.parameters())


def conv(c, width, kernel=3):
    return c * width * kernel**2


def bn(c):
    return 2 * c


def basic(c, width):
    projection = conv(c, width, 1) + bn(width) if c != width else 0
    return conv(c, width) + bn(width) + conv(width, width) + bn(width) + projection


def bottleneck(c, width):
    inner = width // 4
    projection = conv(c, width, 1) + bn(width) if c != width else 0
    return (
        conv(c, inner, 1) + bn(inner) + conv(inner, inner) + bn(inner) + conv(inner, width, 1) + bn(width) + projection
    )


def separable(c, width):
    return 9 * c + bn(c) + conv(c, width, 1) + bn(width)


def inverted(c, width, expansion):
    inner = c * expansion
    return conv(c, inner, 1) + bn(inner) + 9 * inner + bn(inner) + conv(inner, width, 1) + bn(width)


def blocks(kind, c, *stages):
    """Parameters of stages of (number of blocks, width), and of the classifier after them."""
    total = 0
    for number, width in stages:
        total += kind(c, width) + (number - 1) * kind(width, width)
        c = width
    return total + classifier(c)


def dense(c, layers, growth):
    return sum(bn(c + i * growth) + conv(c + i * growth, growth) for i in range(layers))


def classifier(c, num_classes=100):
    return (c + 1) * num_classes


def imagenet(parameters, c):
    return parameters + 900 * (c + 1)


NETWORKS = {
    'ResNet-110': dict(type='ThinResNet_CIFAR', depth=110),
    'ResNet-164': dict(type='BottleneckResNet_CIFAR', depth=164),
    'DenseNet-40-12': dict(type='DenseNet_CIFAR', depth=40, growth_rate=12),
    'WRN-28-4': dict(type='WideResNet_CIFAR', depth=28, widen_factor=4),
    'WRN-28-10': dict(type='WideResNet_CIFAR', depth=28, widen_factor=10),
    'MobileNet': dict(type='MobileNet_CIFAR'),
    'ResNet-18': dict(type='ResNet', depth=18),
    'ResNet-50': dict(type='ResNet', depth=50),
    'MobileNetV2': dict(type='StagedMobileNetV2'),
}
# Of the network with its classifier, C3 and C2. WRN and MobileNet: counted on the authors' code.
PARAMETERS = {
    'ResNet-110': (
        1_736_564,
        blocks(basic, 16, (9, 32), (9, 64)),
        blocks(basic, 32, (18, 128)),
    ),
    'ResNet-164': (
        conv(3, 16) + bn(16) + blocks(bottleneck, 16, (18, 64), (18, 128), (18, 256)),
        blocks(bottleneck, 64, (9, 128), (9, 256)),
        blocks(bottleneck, 128, (18, 512)),
    ),
    'DenseNet-40-12': (
        1_060_132,
        dense(160, 12, 12) + bn(304) + conv(304, 304, 1) + dense(304, 6, 12) + bn(376) + classifier(376),
        dense(304, 12, 36) + bn(736) + classifier(736),
    ),
    'WRN-28-4': (5_872_180, 3_241_188, 17_230_180),
    'WRN-28-10': (36_536_884, 20_145_060, 107_464_420),
    # The authors' C3 has 2,637,668: conv10 and conv11 of Table 4 are missing.
    'MobileNet': (3_309_476, 2_637_668 + 2 * separable(512, 512), 5_484_132),
    'ResNet-18': (
        11_689_512,
        imagenet(blocks(basic, 128, (1, 256), (2, 512)), 512),
        imagenet(blocks(basic, 256, (2, 1024)), 1024),
    ),
    'ResNet-50': (
        25_557_032,
        imagenet(blocks(bottleneck, 512, (3, 1024), (2, 2048)), 2048),
        imagenet(blocks(bottleneck, 1024, (3, 4096)), 4096),
    ),
    'MobileNetV2': (
        3_504_872,
        inverted(96, 160, 6)
        + 2 * inverted(160, 160, 6)
        + inverted(160, 320, 3)
        + conv(320, 1280, 1)
        + bn(1280)
        + classifier(1280, 1000),
        inverted(160, 480, 6) + conv(480, 1920, 1) + bn(1920) + classifier(1920, 1000),
    ),
}
IMAGENET = ('ResNet-18', 'ResNet-50', 'MobileNetV2')


@contextlib.contextmanager
def without_memory():
    """Everything on the meta device; mmpretrain's ResNets, which cannot be built there, are moved to it."""
    with mock.patch.object(nn.Conv2d, 'reset_parameters', lambda self: None), torch.device('meta'):
        yield


def build_on_meta(backbone):
    device = 'cpu' if 'ResNet' in backbone['type'] and 'Wide' not in backbone['type'] else 'meta'
    with torch.device(device):
        return MODELS.build(dict(backbone)).to('meta')


@pytest.mark.parametrize('name', NETWORKS)
def test_sizes_are_those_of_the_supplements_tables(name):
    num_classes, size = (1000, 224) if name in IMAGENET else (100, 32)
    with without_memory():
        backbone = build_on_meta(NETWORKS[name])
        branches = DCMBranches(backbone, num_classes)
        images = torch.zeros(2, 3, size, size)
        outputs = stage_outputs(backbone, images)
        for branch in branches:
            # As many down-samplings as the network.
            assert branch(outputs[branch.start - 1]).shape[2:] == outputs[-1].shape[2:]
        assert [logits.shape for logits in branches(outputs)] == 2 * [(2, num_classes)]
    network = count(backbone) + classifier(backbone.feat_dim, num_classes)
    assert (network, *map(count, branches)) == PARAMETERS[name]


def released_name(name):
    """The name in the authors' code of our tensor ``name``."""
    name = re.sub(r'^branches\.(\d)\.(?:stages\.)?', lambda m: f'ep{int(m[1]) + 1}_', name.replace('backbone.', ''))
    name = name.replace('head.', '')
    name = re.sub(r'layer(\d)\.norm', 'bn', name)
    name = re.sub(r'layer(\d)\.(\d)', lambda m: f'group{int(m[1]) - 1}.block{m[2]}', name)
    for ours, theirs in {
        'residual.conv.weight': 'conv1',
        'residual.norm': 'bn1',
        'conv1.weight': 'conv0',
        'norm1': 'bn0',
        'shortcut.weight': 'convdim',
    }.items():
        if ours in name:
            return name.replace(ours, theirs)
    return name


def draw(name, shape, seed):
    """The weight or input ``name`` that the golden numbers were measured with."""
    generator = torch.Generator().manual_seed((zlib.crc32(name.encode()) + seed) % 2**31)
    if name == 'y':
        return torch.randint(0, 10, shape, generator=generator)
    noise = torch.randn(shape, generator=generator)
    if name == 'x':
        return noise
    if len(shape) == 1:
        return 1 + 0.1 * noise if name.endswith('weight') else 0.1 * noise
    return noise * ((2 if len(shape) == 4 else 1) / noise[0].numel()) ** 0.5


class Network(nn.Module):
    def __init__(self, backbone, num_classes=10, **auxiliary):
        super().__init__()
        self.backbone = MODELS.build(dict(backbone))
        self.branches = MODELS.build(
            dict(type='DCMBranches', backbone=self.backbone, num_classes=num_classes, **auxiliary)
        )
        self.head = nn.ModuleDict(dict(fc=nn.Linear(self.backbone.feat_dim, num_classes)))

    def forward(self, images):
        outputs = stage_outputs(self.backbone, images, stem=self.branches.extra_c4)
        return [*self.branches(outputs), self.head.fc(outputs[-1].mean((2, 3)))]


@pytest.mark.parametrize('method', ['dcm', 'dks'])
def test_wrn_and_its_auxiliary_classifiers_give_the_outputs_and_gradients_of_the_authors_code(method):
    golden = GOLDEN[method]
    network = Network(dict(type='WideResNet_CIFAR', depth=16, widen_factor=1))
    parameters = {released_name(name): p for name, p in network.named_parameters()}
    with torch.no_grad():
        for name, parameter in parameters.items():
            parameter.copy_(draw(name, parameter.shape, golden['seed']))
    network.double()
    images = draw('x', (2, 3, 32, 32), golden['seed']).double()
    labels = draw('y', (2,), golden['seed'])

    classifiers = ('c3', 'c2', 'c1')
    for logits, name in zip(network.eval()(images), classifiers, strict=True):
        expected = torch.tensor(golden['eval_logits'][name], dtype=torch.float64)
        torch.testing.assert_close(logits, expected, rtol=1e-3, atol=1e-3)
    losses = [F.cross_entropy(logits, labels) for logits in network.train()(images)]
    assert dict(zip(classifiers, [loss.item() for loss in losses])) == pytest.approx(golden['train_ce'], rel=1e-4)
    sum(losses).backward()
    norms = {name: parameters[name].grad.norm().item() for name in golden['grad_norms_sum_of_ce']}
    assert norms == pytest.approx(golden['grad_norms_sum_of_ce'], rel=1e-3)


def test_wrn_28_10s_c4_starts_after_the_first_convolution():
    with without_memory():
        backbone = build_on_meta(NETWORKS['WRN-28-10'])
        branches = DCMBranches(backbone, 100, extra_c4=True)
        outputs = stage_outputs(backbone, torch.zeros(2, 3, 32, 32), stem=True)
        assert [output.shape[1:] for output in outputs] == [
            (16, 32, 32), (160, 32, 32), (320, 16, 16), (640, 8, 8),
        ]  # fmt: skip
        assert [logits.shape for logits in branches(outputs)] == 3 * [(2, 100)]
        assert branches[0](outputs[0]).shape == (2, 640, 8, 8)
    convolutions = [m for m in branches[0].modules() if isinstance(m, nn.Conv2d) and m.kernel_size == (3, 3)]
    assert [c.out_channels for c in convolutions] == 8 * [160] + 4 * [320] + 4 * [640]
    assert [*map(count, branches)][1:] == [20_145_060, 107_464_420]


def test_c4_reads_the_first_convolution_of_the_same_images():
    network = Network(dict(type='WideResNet_CIFAR', depth=10, widen_factor=1), extra_c4=True).eval()
    images = torch.randn(2, 3, 16, 16)
    c4 = network.branches[0]
    expected = c4.classify(c4(network.backbone.conv1(images)).mean((2, 3)))
    assert torch.equal(network(images)[0], expected)
    assert [len(stage_outputs(network.backbone, images)), network.backbone.out_indices] == [3, (2,)]


NARROW = {
    'DenseNet-40-12': ([6] * 18, [18] * 12),
    'WRN-28-10': ([160] * 8 + [320] * 4, [640] * 8),
}


@pytest.mark.parametrize('name, widths', NARROW.items(), ids=NARROW.keys())
def test_narrow_halves_width_or_growth_rate(name, widths):
    with without_memory():
        branches = DCMBranches(build_on_meta(NETWORKS[name]), 100, variant='narrow')
    for branch, expected in zip(branches, widths, strict=True):
        convolutions = [m for m in branch.modules() if isinstance(m, nn.Conv2d) and m.kernel_size == (3, 3)]
        assert [c.out_channels for c in convolutions] == expected


def test_apfc_pools_to_4_by_4_and_classifies():
    network = Network(dict(type='WideResNet_CIFAR', depth=10, widen_factor=1), variant='apfc').double().eval()
    images = torch.randn(2, 3, 32, 32, dtype=torch.float64)
    outputs = stage_outputs(network.backbone, images)
    assert [output.shape[1:] for output in outputs] == [(16, 32, 32), (32, 16, 16), (64, 8, 8)]
    for branch, logits, output in zip(network.branches, network(images), outputs):
        n, c, h, w = output.shape
        pooled = output.view(n, c, 4, h // 4, 4, w // 4).mean((3, 5)).flatten(1)
        fc = branch.head.fc
        torch.testing.assert_close(logits, pooled @ fc.weight.T + fc.bias)
    assert [*map(count, network.branches)] == [10 * (16 * 16 + 1), 10 * (16 * 32 + 1)]


SHORT = {
    'ResNet': dict(type='ThinResNet_CIFAR', depth=14),
    'bottlenecks': dict(type='BottleneckResNet_CIFAR', depth=20),
    'DenseNet': dict(type='DenseNet_CIFAR', depth=10, growth_rate=4),
    'WRN': dict(type='WideResNet_CIFAR', depth=16, widen_factor=1),
    'MobileNet': dict(type='MobileNet_CIFAR', base_channels=4),
    'ResNet-18': dict(type='ResNet_CIFAR', depth=18, stem_channels=8, base_channels=8, zero_init_residual=False),
    'ResNet-50': dict(type='ResNet', depth=50, stem_channels=8, base_channels=8, zero_init_residual=False),
    'MobileNetV2': dict(type='StagedMobileNetV2', widen_factor=0.25),
    # No table: copies of the later stages.
    'ResNet-34': dict(type='ResNet_CIFAR', depth=34, stem_channels=8, base_channels=8, zero_init_residual=False),
    'HCGNet': dict(type='HCGNet_CIFAR', growth_rates=(4, 4, 4), num_units=1),
}
short = pytest.mark.parametrize('backbone', SHORT.values(), ids=SHORT.keys())


@short
def test_every_parameter_but_those_of_other_classifiers_gets_a_gradient(backbone):
    network = Network(backbone)
    logits = network(torch.randn(3, 3, 32, 32))
    parts = [*network.branches, network.head]
    names = [{id(p) for p in part.parameters()} for part in parts]
    shared = {id(p) for p in network.backbone.parameters()}
    for i, (own, z) in enumerate(zip(names, logits, strict=True)):
        network.zero_grad()
        z.square().sum().backward(retain_graph=True)
        reached = {id(p) for p in network.parameters() if p.grad is not None}
        assert reached - shared == own, i
    assert reached == shared | names[-1]


@short
def test_branches_have_weights_of_their_own_and_leave_the_backbone_as_it_was(backbone):
    net = MODELS.build(dict(backbone))
    before = {name: tensor.clone() for name, tensor in net.state_dict().items()}
    branches = DCMBranches(net, 10)
    branches.init_weights()
    assert before.keys() == net.state_dict().keys()
    assert all(torch.equal(tensor, before[name]) for name, tensor in net.state_dict().items())
    storages = [{p.data_ptr() for p in part.parameters()} for part in (net, *branches)]
    assert len(set.union(*storages)) == sum(map(len, storages))
    assert all(p.requires_grad for p in branches.parameters()) and all(m.training for m in branches.modules())


@short
def test_stages_are_named_and_initialised_as_the_backbones(backbone):
    """He, fan out: standard deviation sqrt(2 / (channels out * kernel height * kernel width))."""
    torch.manual_seed(0)
    net = MODELS.build(dict(backbone))
    branches = MODELS.build(dict(type='DCMBranches', backbone=net, num_classes=10))
    branches.init_weights()
    for branch in branches:
        stages = {name.split('.')[1] for name in branch.state_dict() if name.startswith('stages.')}
        assert stages == set(stage_names(net)[branch.start :])
        convolutions = [m.weight for m in branch.modules() if isinstance(m, nn.Conv2d)]
        standardised = [weight.flatten() * (weight[:, 0].numel() / 2) ** 0.5 for weight in convolutions]
        assert torch.cat(standardised).std().item() == pytest.approx(1, rel=0.1)


def test_classifiers_are_initialised_as_the_head_is_configured():
    init_cfg = dict(type='Normal', layer='Linear', std=2.0)
    for variant in ('full', 'apfc'):
        branches = DCMBranches(MODELS.build(dict(SHORT['WRN'])), 10, init_cfg, variant=variant)
        branches.init_weights()
        for branch in branches:
            assert branch.head.fc.weight.std().item() == pytest.approx(2, rel=0.15)


def test_zero_init_residual_holds_and_a_frozen_backbone_freezes_no_branch():
    branches = DCMBranches(MODELS.build(dict(SHORT['ResNet-18'], zero_init_residual=True, frozen_stages=4)), 10)
    branches.init_weights()
    norms = [m.norm2 for m in branches.modules() if isinstance(m, BasicBlock)]
    assert len(norms) == 5 and all((norm.weight == 0).all() for norm in norms)
    assert all(p.requires_grad for p in branches.parameters())


def test_checkpointed_blocks_give_the_same_gradients_and_update_statistics_once():
    def train(with_cp):
        torch.manual_seed(0)
        network = Network(dict(SHORT['ResNet-18'], with_cp=with_cp)).double()
        checkpoint_activations(network.backbone)
        sum(z.square().sum() for z in network(torch.randn(2, 3, 16, 16, dtype=torch.float64))).backward()
        gradients = [p.grad for p in network.branches.parameters()]
        return gradients + [b for name, b in network.branches.named_buffers() if 'running' in name]

    for ours, plain in zip(train(True), train(False), strict=True):
        torch.testing.assert_close(ours, plain)


def test_a_backbone_without_a_table_gets_copies_after_its_last_two_hidden_stages():
    net = MODELS.build(dict(SHORT['ResNet-34']))
    branches = DCMBranches(net, 10)
    assert [branch.start for branch in branches] == [2, 3]
    for branch, start in zip(branches, (2, 3)):
        assert branch.state_dict().keys() == AuxiliaryBranch(net, start, 10).state_dict().keys()


def test_a_layout_replaces_the_table():
    """The authors' MobileNet, and the branches of ResNet-18 with which MixSKD's Table 1 has DKS."""
    with without_memory():
        backbone = build_on_meta(NETWORKS['MobileNet'])
        layout = [dict(start=1, stages=[(4, 512), (2, 1024)]), dict(start=2, stages=[[2, 2048]])]
        assert [*map(count, DCMBranches(backbone, 100, layout=layout))] == [2_637_668, 5_484_132]
        backbone = build_on_meta(NETWORKS['ResNet-18'])
        layout = [dict(start=2, stages=[(1, 256), (2, 512)]), dict(start=3, stages=[(2, 512)])]
        branches = DCMBranches(backbone, 100, layout=layout)
        assert [branch.start for branch in branches] == [2, 3]
    assert count(branches[0]) == blocks(basic, 128, (1, 256), (2, 512))
    assert count(branches[1]) == blocks(basic, 256, (2, 512))


RESNET34 = (
    'DCMBranches variant={}, layout={} on ResNet_CIFAR: expected full and None, since the supplement of DCM has no'
)
WRONG = {
    'variant': ('WRN', dict(variant='wide'), "DCMBranches variant='wide': expected full, narrow or apfc"),
    'narrow without a table': ('ResNet-34', dict(variant='narrow'), RESNET34.format("'narrow'", None)),
    'apfc without a table': ('ResNet-34', dict(variant='apfc'), RESNET34.format("'apfc'", None)),
    'layout without a table': ('ResNet-34', dict(layout=[]), RESNET34.format("'full'", [])),
    'C4 without a table': ('HCGNet', dict(extra_c4=True), 'DCMBranches extra_c4=True on HCGNet_CIFAR: expected False'),
    'C4 of DenseNet': ('DenseNet', dict(extra_c4=True), 'DCMBranches extra_c4=True on DenseNet_CIFAR: expected False'),
    'C4 and a layout': ('WRN', dict(extra_c4=True, layout=[]), 'DCMBranches extra_c4=True on WideResNet_CIFAR: exp'),
    **{f'layout {entry!r}': ('WRN', dict(layout=[entry]), f'DCMBranches layout has {entry!r}: expected start, from 1 to 2')
       for entry in (
           dict(start=0, stages=[(1, 8)] * 3), dict(start=3, stages=[]), dict(start=1, stages=[(1, 8)]),
           dict(start=2, stages=[(1,)]), dict(start=2, stages=[(0, 8)]), dict(start=2, stages=[(1, 8.0)]),
           dict(start=2, stages=[(1, 8, 6)]), dict(start=2, stages=8), dict(start=2), dict(start=2, stages=[(1, 8)], k=1),
           (2, [(1, 8)]),
       )},
}  # fmt: skip


@pytest.mark.parametrize('backbone, arguments, message', WRONG.values(), ids=WRONG.keys())
def test_wrong_arguments_end_in_one_line(backbone, arguments, message):
    with pytest.raises(InputError) as error:
        DCMBranches(MODELS.build(dict(SHORT[backbone])), 10, **arguments)
    assert str(error.value).startswith(message) and '\n' not in str(error.value)
