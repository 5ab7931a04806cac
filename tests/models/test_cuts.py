"""Where backbones are cut, by the table and by a config's ``stages``."""

import pytest
import torch
from families import CONVNEXT, FAMILIES
from mmpretrain.registry import MODELS
from torch import nn

from mixskd_mm.errors import InputError
from mixskd_mm.models import Mixture
from mixskd_mm.models.stages import cut_of, prepare_backbone, stage_names, stage_outputs

# --- The table ---------------------------------------------------------------------------------------------------------

# Real networks, what their plain classifiers for 1000 classes count, and their stages.
TABLE = {
    'mobilenet-v2': (
        dict(type='MobileNetV2'),
        3_504_872,
        ['layer1+layer2', 'layer3', 'layer4+layer5', 'layer6+layer7+conv2'],
    ),
    'mobilenet-v3-large': (
        dict(type='MobileNetV3', arch='large'),
        2_971_952 + 960 * 1000 + 1000,
        ['layer1+layer2+layer3', 'layer4+layer5+layer6', '+'.join(f'layer{i}' for i in range(7, 13)),
         'layer13+layer14+layer15+layer16'],
    ),
    'shufflenet-v2': (
        dict(type='ShuffleNetV2', widen_factor=1.0),
        2_278_604,
        ['layers.0', 'layers.1', 'layers.2+layers.3'],
    ),
    'efficientnet-b0': (
        dict(type='EfficientNet', arch='b0'),
        5_288_548,
        ['layers.1+layers.2', 'layers.3', 'layers.4', 'layers.5+layers.6'],
    ),
    'vgg-16': (
        dict(type='VGG', depth=16),
        14_714_688 + 512 * 1000 + 1000,
        ['features.0+features.1+features.2'],
    ),
    'repvgg-a0': (dict(type='RepVGG', arch='A0'), 9_108_968, ['stage_1', 'stage_2', 'stage_3', 'stage_4+ppf']),
    'convnext-tiny': (
        dict(type='ConvNeXt', arch='tiny'),
        28_589_128,
        ['stages.0', *(f'downsample_layers.{k}+stages.{k}' for k in (1, 2, 3))],
    ),
    'swin-tiny': (
        dict(type='SwinTransformer', arch='tiny'),
        28_288_354,
        ['stages.0.blocks', 'stages.0.downsample+stages.1.blocks', 'stages.1.downsample+stages.2.blocks',
         'stages.2.downsample+stages.3.blocks+norm3'],
    ),
    'densenet-121': (
        dict(type='DenseNet', arch='121'),
        7_978_856,
        [f'stages.{k}+transitions.{k}' for k in range(4)],
    ),
    'poolformer-s12': (
        dict(type='PoolFormer', arch='s12'),
        11_915_176,
        ['network.0', 'network.1+network.2', 'network.3+network.4', 'network.5+network.6+norm6'],
    ),
}  # fmt: skip


@pytest.mark.parametrize('backbone, count, names', TABLE.values(), ids=TABLE.keys())
def test_real_networks_are_cut_where_the_table_says(backbone, count, names):
    backbone = MODELS.build(dict(backbone))
    assert stage_names(backbone)[: len(names)] == names
    classifier = (backbone.feat_dim + 1) * 1000
    assert sum(p.numel() for p in backbone.parameters()) + classifier == count


def test_a_stage_has_one_resolution():
    """Of the networks that have no stages of their own: strides 4, 8, 16 and 32."""
    for name in ('MobileNetV2', 'MobileNetV3', 'EfficientNet', 'EfficientNetV2'):
        backbone = MODELS.build(dict(FAMILIES[name].backbone))
        x = stage_outputs(backbone, torch.randn(2, 3, 64, 64), stem=True)[0]
        sizes = []
        for names in cut_of(backbone).stages:
            sizes.append([])
            for module in names:
                x = backbone.get_submodule(module)(x)
                sizes[-1].append(x.shape[-1])
        assert set(sizes[0]) <= {32, 16} and sizes[0][-1] == 16
        assert [set(later) for later in sizes[1:]] == [{8}, {4}, {2}], name


def test_running_the_stages_changes_nothing_of_the_backbone(monkeypatch):
    """So it can run in several threads, and compiled."""
    backbone = MODELS.build(dict(FAMILIES['ResNet-34'].backbone))
    cut_of(backbone)

    def refuse(module, name, value):
        raise AssertionError(f'{name} is set')

    monkeypatch.setattr(type(backbone), '__setattr__', refuse)
    assert len(stage_outputs(backbone, torch.randn(2, 3, 32, 32))) == 4


# --- What a config declares --------------------------------------------------------------------------------------------


class Plain(nn.Module):
    """Two stages of two modules each, one activation for all."""

    def __init__(self):
        super().__init__()
        self.conv, self.act = nn.Conv2d(3, 4, 3, padding=1), nn.ReLU()
        self.layer1, self.layer2 = nn.Conv2d(4, 4, 3, padding=1), nn.Conv2d(4, 4, 3, padding=1)
        self.down = nn.Conv2d(4, 8, 2, stride=2)

    def forward(self, x):
        x = self.act(self.conv(x))
        x = self.act(self.layer1(x))
        return (self.act(self.down(self.layer2(x))),)


class ChannelsLast(nn.Module):
    """Blocks of a norm and a linear layer on maps ``(N, H, W, C)``, and a patch merging between two."""

    def __init__(self):
        super().__init__()
        self.patches = nn.Sequential(nn.Conv2d(3, 4, 4, stride=4), Permute(0, 2, 3, 1))
        self.block1 = nn.ModuleList([nn.Sequential(nn.LayerNorm(4), nn.Linear(4, 4)) for _ in range(2)])
        self.merge = Merge()
        self.block2, self.norm = nn.Sequential(nn.LayerNorm(8), nn.Linear(8, 8)), nn.LayerNorm(8)

    def forward(self, x):
        x = self.patches(x)
        for block in self.block1:
            x = block(x)
        return (self.norm(self.block2(self.merge(x))).permute(0, 3, 1, 2),)


class Permute(nn.Module):
    def __init__(self, *dims):
        super().__init__()
        self.dims = dims

    def forward(self, x):
        return x.permute(*self.dims)


class Merge(nn.Module):
    def __init__(self):
        super().__init__()
        self.reduction = nn.Linear(16, 8)

    def forward(self, x):
        n, h, w, c = x.shape
        x = x.reshape(n, h // 2, 2, w // 2, 2, c).transpose(2, 3).reshape(n, h // 2, w // 2, 4 * c)
        return self.reduction(x)


SWIN_V2 = dict(
    type='SwinTransformerV2',
    arch=dict(embed_dims=8, depths=[1, 2, 2, 1], num_heads=[1, 1, 2, 2], extra_norm_every_n_blocks=0),
    img_size=64,
    window_size=2,
)

DECLARED = {
    'activation of all stages': (Plain, [['layer1', 'act'], ['layer2', 'down', 'act']], [4, 8]),
    'NHWC': (
        ChannelsLast,
        dict(stages=[['block1'], ['merge', 'block2', 'norm']], layout='NHWC'),
        [4, 8],
    ),
    'NLC': (
        SWIN_V2,
        dict(stages=[['stages.0'], ['stages.1'], ['stages.2'], ['stages.3', 'norm3']], layout='NLC'),
        [8, 16, 32, 64],
    ),
    'instead of the table': (
        FAMILIES['MobileNetV2'].backbone,
        [['layer1', 'layer2', 'layer3', 'layer4'], ['layer5', 'layer6', 'layer7', 'conv2']],
        [8, 1280],
    ),
    'the rest as in the table': (
        CONVNEXT,
        [['stages.0', 'downsample_layers.1', 'stages.1'], ['downsample_layers.2', 'stages.2', 'downsample_layers.3',
         'stages.3']],
        [16, 32],
    ),
    'patch merging at the end of a stage': (
        FAMILIES['Swin'].backbone,
        [['stages.0'], ['stages.1'], ['stages.2'], ['stages.3', 'norm3']],
        [16, 32, 64, 64],
    ),
    'the stem too': (
        dict(type='ResNet', depth=18, base_channels=8),
        dict(stem=[], stages=[['conv1', 'bn1', 'relu', 'maxpool', 'layer1', 'layer2'], ['layer3', 'layer4']]),
        [16, 64],
    ),
}  # fmt: skip


@pytest.mark.parametrize('network, stages, channels', DECLARED.values(), ids=DECLARED.keys())
def test_a_config_declares_the_stages(network, stages, channels, make_batch):
    backbone = dict(network, drop_path_rate=0.0) if network is FAMILIES['Swin'].backbone else network
    backbone = network() if isinstance(network, type) else MODELS.build(dict(backbone))
    pools_itself = network is CONVNEXT
    model = MODELS.build(
        dict(
            type='MixSKDClassifier',
            backbone=backbone,
            neck=None if pools_itself else dict(type='GlobalAveragePooling'),
            head=dict(type='LinearClsHead', num_classes=10, in_channels=channels[-1]),
            stages=stages,
        )
    )
    images, samples = make_batch(2, size=64)
    outputs = stage_outputs(backbone, images)
    assert [output.shape[1] for output in outputs] == channels
    assert len(model.branches) == len(channels) - 1
    assert all(branch(output).shape == outputs[-1].shape for branch, output in zip(model.branches, outputs))
    model.eval()
    torch.testing.assert_close(model.classify(stage_outputs(backbone, images)[-1]), model(images))
    model.train()
    sum(model.loss(images, samples, Mixture(0.3, [1, 0])).values()).backward()
    assert [name for name, p in model.named_parameters() if p.grad is None] == []


# With stages: their outputs, copies of them, their sizes. Without: what the backbone returns is classified.
METHODS = ('ManifoldMixup', 'FRSKD', 'DKS', 'BYOT', 'SAD', 'DCM', 'TfKD')


@pytest.mark.parametrize('method', METHODS)
@pytest.mark.parametrize('name', ['ConvNeXt', 'Swin', 'MobileNetV3', 'timm EfficientNet'])
def test_other_methods_run_on_them_too(name, method, make_batch):
    model = MODELS.build(FAMILIES[name].config(type=f'{method}Classifier'))
    losses = model.loss(*make_batch(2, size=64))
    sum(losses.values()).backward()
    assert [name for name, p in model.named_parameters() if p.requires_grad and p.grad is None] == []


def test_both_networks_of_dcm_are_cut_as_declared():
    config = FAMILIES['MobileOne'].config(type='DCMClassifier')
    model = MODELS.build(config)
    assert [stage_names(net.backbone) for net in (model, model.peer)] == 2 * [['stage1', 'stage2', 'stage3', 'stage4']]
    with pytest.raises(InputError, match=r'^backbone LeNet5 cannot be cut into stages'):
        MODELS.build(dict(config, peer=dict(backbone=dict(type='LeNet5'))))


RESNET = dict(type='ResNet', depth=18, base_channels=8)
WRN = dict(type='WideResNet_CIFAR', depth=10, widen_factor=1)


def test_a_norm_that_only_classifiers_read_does_not_train_without_them(make_batch):
    model = MODELS.build(FAMILIES['ConvNeXt'].config(type='BYOTClassifier', cls_branch_weight=0, kd_weight=0))
    sum(model.loss(*make_batch(2, size=64)).values()).backward()
    assert [name for name, p in model.named_parameters() if p.requires_grad and p.grad is None] == []
    assert model.branches[0].stages.get_submodule('stages.3.0').gamma.requires_grad


@pytest.mark.parametrize(
    'network, stages',
    [
        (RESNET, [['layer1', 'layer2'], ['layer3'], ['layer4']]),
        (RESNET, [['layer1'], ['layer2', 'layer3'], ['layer4']]),
        (RESNET, [['layer1'], ['layer2'], ['layer3', 'layer4']]),
        (WRN, [['layer1'], ['layer2', 'layer3']]),
    ],
)
@pytest.mark.parametrize('type', ['BYOTClassifier', 'DCMClassifier', 'DKSClassifier'])
def test_declared_stages_have_copies_for_branches(type, network, stages, make_batch):
    """And not what a method's table says of the stages that the network has by itself."""
    head = dict(type='LinearClsHead', num_classes=10, in_channels=64)
    model = MODELS.build(
        dict(type=type, backbone=network, neck=dict(type='GlobalAveragePooling'), head=head, stages=stages)
    )
    branches = model.branches[1] if type == 'DCMClassifier' else model.branches
    for branch in branches:
        later = [name for names in stages[branch.start :] for name in names]
        shapes = [p.shape for name in later for p in getattr(model.backbone, name).parameters()]
        assert [p.shape for name in later for p in getattr(branch.stages, name).parameters()] == shapes
    sum(model.loss(*make_batch(2, size=64)).values()).backward()
    assert [name for name, p in model.named_parameters() if p.grad is None] == []


EXPECTED = (
    ": expected names of modules, two stages or more, such as [['layer1'], ['layer2', 'down']], or "
    "dict(stages=[...], stem=[...], layout='NCHW' or 'NHWC' or 'NLC', after_pool=[...])"
)
REFUSED = {
    'one stage': (RESNET, [['layer1']], "stages=[['layer1']]" + EXPECTED),
    'no list': (RESNET, ['layer1', 'layer2'], "stages=['layer1', 'layer2']" + EXPECTED),
    'an empty stage': (RESNET, [['layer1'], []], "stages=[['layer1'], []]" + EXPECTED),
    'no name': (RESNET, [['layer1'], [2]], "stages=[['layer1'], [2]]" + EXPECTED),
    'layout': (
        RESNET,
        dict(stages=[['layer1'], ['layer2']], layout='CHW'),
        "stages={'stages': [['layer1'], ['layer2']], 'layout': 'CHW'}" + EXPECTED,
    ),
    'no stem': (
        RESNET,
        dict(stages=[['layer1'], ['layer2']], stem=None),
        "stages={'stages': [['layer1'], ['layer2']], 'stem': None}" + EXPECTED,
    ),
    'another key': (RESNET, dict(neck=[['a'], ['b']]), "stages={'neck': [['a'], ['b']]}" + EXPECTED),
    'no such module': (
        RESNET,
        [['layer1', 'layer2'], ['layer3', 'layer5']],
        "backbone ResNet has no module 'layer5', which the stages name",
    ),
    'a module left out': (
        RESNET,
        [['layer1'], ['layer2', 'layer3']],
        'backbone ResNet has 15 parameters that belong to no stage, such as layer4.0.conv1.weight: expected each in a '
        'module of the stages, or they would not be trained',
    ),
    'twice': (
        RESNET,
        [['layer1', 'layer2'], ['layer3', 'layer4', 'layer4.0']],
        "backbone ResNet module 'layer4.0' is named twice, as a whole or in part: expected once in all stages",
    ),
    'another order': (
        RESNET,
        [['layer2', 'layer1'], ['layer3', 'layer4']],
        'backbone ResNet cannot be cut into stages: one after another they fail with RuntimeError: Given groups=1',
    ),
    'another order of equal shapes': (
        Plain,
        dict(stem=['conv', 'act'], stages=[['layer2', 'act'], ['layer1', 'down', 'act']]),
        'backbone Plain cannot be cut into stages: it gives (2, 8, 32, 32), and they give another output',
    ),
    'an activation left out': (
        Plain,
        [['layer1', 'act'], ['layer2', 'down']],
        'backbone Plain cannot be cut into stages: it gives (2, 8, 32, 32), and they give another output',
    ),
    'another layout': (
        ChannelsLast,
        [['block1'], ['merge', 'block2', 'norm']],
        'backbone ChannelsLast cannot be cut into stages: ',
    ),
}


@pytest.mark.parametrize('network, stages, message', REFUSED.values(), ids=REFUSED.keys())
def test_refuses_stages_that_are_not_the_backbone(network, stages, message):
    backbone = network() if isinstance(network, type) else MODELS.build(dict(network))
    with pytest.raises(InputError) as error:
        prepare_backbone(backbone, stages=stages)
    assert str(error.value).startswith(message)
    assert '\n' not in str(error.value)
    assert not hasattr(backbone, 'stage_cut')


def test_the_argument_is_named_as_the_classifiers(mixskd_cfg):
    with pytest.raises(InputError, match=r"^MixSKDClassifier stages='layer1': expected names of modules"):
        MODELS.build(mixskd_cfg(stages='layer1'))


# --- What cannot be cut ------------------------------------------------------------------------------------------------

NOT_CUT = {
    'ViT': (
        dict(type='VisionTransformer', arch='deit-t', img_size=16, patch_size=8),
        'backbone VisionTransformer cannot be cut into stages: it has no res_layers and docs/backbones.md does not list it '
        "(expected stages=[['module', ...], ...], the names of its stages' modules)",
    ),
    'LeNet': (dict(type='LeNet5'), 'backbone LeNet5 cannot be cut into stages: it has no res_layers'),
    'HRNet': (dict(type='HRNet', arch='w18'), 'backbone HRNet cannot be cut into stages: it has no res_layers'),
    'Swin with positions': (
        dict(FAMILIES['Swin'].backbone, img_size=64, use_abs_pos_embed=True),
        'backbone SwinTransformer has 1 parameters that belong to no stage, such as absolute_pos_embed: expected',
    ),
    'ConvNeXt with other norms': (
        dict(CONVNEXT, out_indices=[0, 3], gap_before_final_norm=False),
        'backbone ConvNeXt has 2 parameters that belong to no stage, such as norm0.weight: expected',
    ),
    'MobileNetV2 without its end': (
        dict(type='MobileNetV2', widen_factor=0.1, out_indices=(2, 5)),
        'backbone MobileNetV2 out_indices=(2, 5): expected 7 to be the last, since the last stage feeds the classifier',
    ),
    'timm ViT': (
        dict(type='TIMMBackbone', model_name='test_vit'),
        'backbone TIMMBackbone has',
    ),
    'timm, channels last': (
        dict(type='TIMMBackbone', model_name='test_mambaout'),
        'backbone TIMMBackbone cannot be cut into stages: it gives (2, ',
    ),
}


@pytest.mark.parametrize('backbone, message', NOT_CUT.values(), ids=NOT_CUT.keys())
def test_refuses_a_backbone_that_cannot_be_cut_and_says_what_is_missing(backbone, message, mixskd_cfg):
    backbone = MODELS.build(dict(backbone))
    with pytest.raises(InputError) as error:
        stage_names(backbone)
    assert str(error.value).startswith(message)
    assert '\n' not in str(error.value)


def test_an_own_forward_is_compared_with_the_stages(mixskd_cfg):
    """A subclass of a network that the table knows may do something else."""

    class Other(type(MODELS.build(dict(RESNET)))):
        def forward(self, x):
            return tuple(2 * output for output in super().forward(x))

    with pytest.raises(InputError, match=r'^backbone Other cannot be cut into stages: it gives'):
        stage_names(Other(depth=18, base_channels=8))


# --- Classifiers -------------------------------------------------------------------------------------------------------

PARTS = {
    'a neck that pools once more': (
        'ConvNeXt',
        dict(neck=dict(type='GlobalAveragePooling')),
        'MixSKDClassifier neck is a GlobalAveragePooling: expected none, since backbone ConvNeXt pools itself',
    ),
    'no neck': ('Swin', dict(neck=None), 'MixSKDClassifier neck is missing: expected a GlobalAveragePooling'),
    'another neck': (
        'Swin',
        dict(neck=dict(type='GeneralizedMeanPooling')),
        'MixSKDClassifier neck is a GeneralizedMeanPooling: expected a GlobalAveragePooling',
    ),
    'width': (
        'MobileNetV2',
        dict(head=dict(type='LinearClsHead', num_classes=10, in_channels=320)),
        'MixSKDClassifier head.in_channels=320: expected 1280, the width of the last stage of backbone MobileNetV2',
    ),
    'a network with its own classifier': (
        'VGG',
        dict(backbone=dict(type='VGG', depth=11, num_classes=10), neck=None, head=dict(type='ClsHead')),
        'MixSKDClassifier head is a ClsHead: expected a LinearClsHead, or a StackedLinearClsHead',
    ),
}


@pytest.mark.parametrize('name, changes, message', PARTS.values(), ids=PARTS.keys())
def test_refuses_classifiers_whose_features_are_not_pooled_as_the_branches(name, changes, message):
    with pytest.raises(InputError) as error:
        MODELS.build(FAMILIES[name].config(**changes))
    assert str(error.value) == message
