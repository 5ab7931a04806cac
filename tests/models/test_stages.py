import pytest
import torch
from mmpretrain.models.backbones.resnet import BasicBlock
from mmpretrain.registry import MODELS
from torch import nn

from mixskd_mm.errors import InputError
from mixskd_mm.models import AuxiliaryBranch
from mixskd_mm.models.stages import output_channels, stage_names, stage_outputs


@pytest.fixture
def family_model():
    """Function: MixSKDClassifier on a backbone given by its config or as a module."""

    def build(backbone, init=True):
        width = (backbone if isinstance(backbone, nn.Module) else MODELS.build(dict(backbone))).feat_dim
        model = MODELS.build(
            dict(
                type='MixSKDClassifier',
                backbone=backbone,
                neck=dict(type='GlobalAveragePooling'),
                head=dict(type='LinearClsHead', num_classes=10, in_channels=width),
            )
        )
        if init:
            model.init_weights()
        return model.train()

    return build


def assert_fresh(model):
    """No convolution or classifier of a branch equals another one or the backbone's, or shares its storage."""
    groups = {}
    for name, parameter in model.named_parameters():
        if parameter.ndim == 4 and (name.startswith('backbone.layer') or '.stages.layer' in name):
            groups.setdefault(name[name.index('layer') :], []).append(parameter)
    several = [group for group in groups.values() if len(group) > 1]
    assert len(several) > 5
    for group in several + [[model.head.fc.weight, *(branch.head.fc.weight for branch in model.branches)]]:
        for i, a in enumerate(group):
            assert a.std() > 0
            for b in group[:i]:
                assert not torch.equal(a, b)
                assert a.data_ptr() != b.data_ptr()


TINY = dict(type='ResNet_CIFAR', depth=18, stem_channels=8, base_channels=8)


def test_branches_are_fresh_before_init_weights(family_model):
    assert_fresh(family_model(TINY, init=False))


def test_branches_are_initialised_as_the_backbone_is(family_model):
    """He, fan out: the standard deviation of a 3x3 convolution is sqrt(2 / (9 * channels out)) in both."""
    model = family_model(TINY)
    for module in (model.backbone, model.branches[0].stages, model.branches[2].stages):
        weight = module.layer4[1].conv1.weight
        assert weight.std().item() == pytest.approx((2 / (9 * 64)) ** 0.5, rel=0.05)
    for fc in (model.head.fc, model.branches[0].head.fc, model.branches[2].head.fc):
        assert fc.weight.std().item() == pytest.approx(0.01, rel=0.15)
        assert (fc.bias == 0).all()


def test_classifiers_of_branches_are_initialised_as_the_head_is_configured(build_mixskd):
    model = build_mixskd(head=dict(init_cfg=dict(type='Normal', layer='Linear', std=2.0)))
    for fc in (model.head.fc, *(branch.head.fc for branch in model.branches)):
        assert fc.weight.std().item() == pytest.approx(2, rel=0.15)


@pytest.fixture
def pretrained(tmp_path):
    """Path of a checkpoint of TINY in which every weight is 0.5."""
    backbone = MODELS.build(dict(TINY))
    state = {key: torch.full_like(value, 0.5) for key, value in backbone.state_dict().items() if value.ndim}
    path = str(tmp_path / 'backbone.pth')
    torch.save(dict(state_dict=state), path)
    return path


@pytest.mark.parametrize('as_list', [False, True], ids=['dict', 'list'])
def test_branches_are_fresh_when_the_backbone_is_pretrained(as_list, pretrained, family_model):
    init_cfg = dict(type='Pretrained', checkpoint=pretrained)
    if as_list:
        init_cfg = [dict(type='Kaiming', layer=['Conv2d']), init_cfg]
    model = family_model(dict(TINY, init_cfg=init_cfg))
    assert (model.backbone.conv1.weight == 0.5).all()
    assert (model.backbone.layer4[1].conv1.weight == 0.5).all()
    for branch in model.branches:
        weight = branch.stages.layer4[1].conv1.weight
        assert weight.std().item() == pytest.approx((2 / (9 * 64)) ** 0.5, rel=0.05)
        assert (branch.stages.layer4[1].bn1.running_mean == 0).all()
    weights = [branch.stages.layer4[1].conv1.weight for branch in model.branches]
    assert not torch.equal(weights[0], weights[1]) and not torch.equal(weights[1], weights[2])


def test_branches_are_fresh_when_the_backbone_is_a_trained_module(family_model):
    backbone = MODELS.build(dict(TINY))
    backbone.init_weights()
    with torch.no_grad():
        for tensor in backbone.state_dict().values():
            tensor.fill_(3)
    model = family_model(backbone)
    assert model.backbone is backbone
    assert (backbone.layer4[1].conv1.weight == 3).all()
    for branch in model.branches:
        block = branch.stages.layer4[1]
        assert block.conv1.weight.std().item() == pytest.approx((2 / (9 * 64)) ** 0.5, rel=0.05)
        assert (block.bn1.weight == 1).all() and (block.bn1.bias == 0).all()
        assert (block.bn1.running_mean == 0).all() and (block.bn1.running_var == 1).all()
        assert block.bn1.num_batches_tracked == 0


def test_branches_train_when_the_backbone_is_frozen(family_model, make_batch):
    model = family_model(dict(TINY, frozen_stages=4, norm_eval=True, zero_init_residual=False))
    model.train()
    assert not any(p.requires_grad for p in model.backbone.parameters())
    assert not any(m.training for m in model.backbone.modules() if isinstance(m, nn.BatchNorm2d))
    for branch in model.branches:
        assert all(p.requires_grad for p in branch.parameters())
        assert all(m.training for m in branch.modules())
    sum(model.loss(*make_batch()).values()).backward()
    assert all((p.grad != 0).any() for p in model.branches.parameters() if p.ndim > 1)


@pytest.mark.parametrize('zero', [True, False])
def test_zero_init_residual_holds_for_branches_too(zero, family_model):
    model = family_model(dict(TINY, zero_init_residual=zero))
    blocks = [m for m in model.modules() if isinstance(m, BasicBlock)]
    assert len(blocks) == 8 + 6 + 4 + 2
    assert all((block.norm2.weight == (0 if zero else 1)).all() for block in blocks)


def test_building_branches_leaves_the_backbone_as_it_was():
    backbone = MODELS.build(dict(TINY, frozen_stages=2))
    before = {key: value.clone() for key, value in backbone.state_dict().items()}
    branch = AuxiliaryBranch(backbone, 1, num_classes=10)
    branch.init_weights()
    assert backbone.state_dict().keys() == before.keys()
    assert all(torch.equal(value, before[key]) for key, value in backbone.state_dict().items())
    assert backbone.frozen_stages == 2 and backbone.out_indices == (3,)
    assert not backbone.layer2[0].conv1.weight.requires_grad


def test_stage_outputs_are_those_of_the_stages_run_one_by_one_whatever_out_indices_says():
    backbone = MODELS.build(dict(TINY, out_indices=(1, 3)))
    x = torch.randn(2, 3, 16, 16)
    stem, *outputs = stage_outputs(backbone, x, stem=True)
    assert all(torch.equal(a, b) for a, b in zip(outputs, stage_outputs(backbone, x), strict=True))
    assert backbone.out_indices == (1, 3)
    assert [len(outputs), len(backbone(x))] == [4, 2]
    y = backbone.relu(backbone.bn1(backbone.conv1(x)))
    assert torch.equal(stem, y)
    for output, name in zip(outputs, backbone.res_layers):
        y = getattr(backbone, name)(y)
        assert torch.equal(output, y)


@pytest.mark.parametrize(
    ('backbone', 'channels'),
    [
        (dict(type='ResNet', depth=50), [256, 512, 1024, 2048]),
        (dict(type='ResNet_CIFAR', depth=18, out_indices=(3,)), [64, 128, 256, 512]),
        (dict(type='WideResNet_CIFAR'), [32, 64, 128]),
        (dict(type='DenseNet_CIFAR'), [160, 304, 448]),
        (dict(type='HCGNet_CIFAR'), [120, 252, 414]),
    ],
    ids=lambda value: value['type'] if isinstance(value, dict) else None,
)
def test_output_channels_are_found_without_changing_the_backbone(backbone, channels):
    backbone = MODELS.build(backbone)
    before = {name: t.clone() for name, t in backbone.state_dict().items()}
    assert output_channels(backbone) == channels
    assert backbone.training and all(torch.equal(t, before[name]) for name, t in backbone.state_dict().items())


@pytest.mark.parametrize('out_indices', [(0,), (0, 1, 2)])
def test_refuses_out_indices_without_the_last_stage(out_indices, build_mixskd):
    with pytest.raises(InputError) as error:
        build_mixskd(backbone=dict(out_indices=out_indices))
    assert str(error.value) == (
        f'backbone ResNet_CIFAR out_indices={out_indices}: expected 3 to be the last, since the last stage feeds the '
        'classifier'
    )


def test_refuses_a_backbone_of_one_stage(mixskd_cfg):
    one_stage = dict(num_stages=1, strides=(1,), dilations=(1,), out_indices=(0,))
    with pytest.raises(InputError, match=r'^backbone ResNet_CIFAR has 1 stages: expected at least two$'):
        MODELS.build(mixskd_cfg(backbone=one_stage, head=dict(in_channels=8)))


def test_any_backbone_that_names_its_stages_can_be_cut():
    """A plain module without mmengine's ``init_cfg``."""

    class Custom(nn.Module):
        def __init__(self):
            super().__init__()
            self.res_layers, self.out_indices, self.feat_dim = ('a', 'b'), (1,), 4
            self.a, self.b = nn.Conv2d(3, 4, 3), nn.Conv2d(4, 4, 3)

        def forward(self, x):
            outputs = [self.a(x), self.b(self.a(x))]
            return [outputs[i] for i in self.out_indices]

    backbone = Custom()
    assert stage_names(backbone) == ['a', 'b']
    branch = AuxiliaryBranch(backbone, 1, num_classes=10)
    branch.init_weights()
    assert set(branch.stages.state_dict()) == {'b.weight', 'b.bias'}
    assert not torch.equal(branch.stages.b.weight, backbone.b.weight)
    a, b = stage_outputs(backbone, torch.randn(2, 3, 8, 8))
    assert branch(a).shape == b.shape
