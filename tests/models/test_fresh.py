"""Branches never start from the backbone's trained weights, whatever it is given as."""

import pytest
import timm
import torch
from families import CONVNEXT, FAMILIES
from mmpretrain.registry import MODELS
from torch import nn

from mixskd_mm.errors import InputError
from mixskd_mm.models import AuxiliaryBranch
from mixskd_mm.models.stages import global_average_pool


def build(name, **backbone):
    torch.manual_seed(0)
    member = FAMILIES[name]
    model = MODELS.build(member.config(backbone=dict(member.backbone, **backbone)))
    model.init_weights()
    return model


@pytest.fixture
def half(tmp_path):
    """Function: path of a checkpoint of a backbone, given by its config, in which every weight is 0.5."""

    def path(config):
        state = MODELS.build(dict(config)).state_dict()
        state = {key: torch.full_like(value, 0.5) for key, value in state.items() if value.ndim and key[-5:] != 'index'}
        file = str(tmp_path / 'backbone.pth')
        torch.save(dict(state_dict=state), file)
        return file

    return path


@pytest.mark.parametrize('as_list', [False, True], ids=['dict', 'list'])
@pytest.mark.parametrize('name', ['ConvNeXt', 'PoolFormer', 'RepVGG', 'VAN'])
def test_pretrained_weights_are_the_backbones_alone(name, as_list, half):
    """What initialises the branches is what the class does by default, or what else ``init_cfg`` has."""
    init_cfg = dict(type='Pretrained', checkpoint=half(FAMILIES[name].backbone))
    if as_list:
        init_cfg = [dict(type='TruncNormal', layer=['Conv2d', 'Linear'], std=0.1), init_cfg]
    model = build(name, init_cfg=init_cfg)
    assert all((p == 0.5).all() for p in model.backbone.parameters())
    assert not any((p == 0.5).all() for p in model.branches.parameters())
    weights = [m.weight for m in model.branches[0].stages.modules() if isinstance(m, nn.Conv2d | nn.Linear)]
    for weight in weights if as_list else []:
        if weight.numel() > 2000:
            assert weight.std().item() == pytest.approx(0.1, rel=0.1)


def test_scales_and_deviations_of_a_pretrained_convnext_are_those_of_a_new_one(half):
    """Truncated normal with a deviation of 0.02, and layer scales of 1e-6."""
    model = build('ConvNeXt', init_cfg=dict(type='Pretrained', checkpoint=half(FAMILIES['ConvNeXt'].backbone)))
    for k, branch in enumerate(model.branches, start=1):
        block = getattr(branch.stages.stages, '3')[0]
        assert (block.gamma == 1e-6).all() and (block.norm.weight == 1).all()
        assert block.pointwise_conv1.weight.std().item() == pytest.approx(0.02, rel=0.05)
        assert (branch.stages.norm3.weight == 1).all() and (branch.stages.norm3.bias == 0).all()
        assert not hasattr(branch.stages, 'norm2') and len(branch.stages.stages) == 4 - k


def test_tables_of_relative_positions_are_drawn_for_each_branch():
    """Truncated normal with a deviation of 0.02 (Swin)."""
    model = build('Swin')
    nets = [model.backbone, *(branch.stages for branch in model.branches)]
    tables = [getattr(net.stages, '3').blocks[0].attn.w_msa.relative_position_bias_table for net in nets]
    for i, table in enumerate(tables):
        assert 0.01 < table.std().item() < 0.03
        assert not any(torch.equal(table, other) for other in tables[:i])


def test_timms_checkpoint_is_not_the_branches(tmp_path):
    name = FAMILIES['timm ConvNeXt'].backbone['model_name']
    state = {key: torch.full_like(value, 0.5) for key, value in timm.create_model(name).state_dict().items()}
    torch.save(state, tmp_path / 'timm.pth')
    model = build('timm ConvNeXt', checkpoint_path=str(tmp_path / 'timm.pth'))
    assert all((p == 0.5).all() for p in model.backbone.parameters())
    new = timm.create_model(name)
    for branch in model.branches:
        for key, p in branch.stages.timm_model.named_parameters():
            like = new.get_parameter(key.removeprefix('timm_model.'))
            if (like == like.flatten()[0]).all():
                assert torch.equal(p, like), key
            elif p.numel() > 1000:
                assert p.std().item() == pytest.approx(like.std().item(), rel=0.15), key


def test_a_backbone_given_as_a_module_is_copied_and_drawn_anew():
    backbone = MODELS.build(dict(FAMILIES['MobileNetV2'].backbone))
    with torch.no_grad():
        for p in backbone.parameters():
            p.normal_(3, 1)
    before = {key: value.clone() for key, value in backbone.state_dict().items()}
    branch = AuxiliaryBranch(backbone, 2, num_classes=10)
    branch.init_weights()
    assert all(torch.equal(value, before[key]) for key, value in backbone.state_dict().items())
    assert set(dict(branch.stages.named_children())) == {'layer4', 'layer5', 'layer6', 'layer7', 'conv2'}
    for module in branch.stages.modules():
        if isinstance(module, nn.BatchNorm2d):
            assert (module.weight == 1).all() and (module.bias == 0).all()
    assert branch.stages.conv2.conv.weight.std().item() == pytest.approx((2 / 1280) ** 0.5, rel=0.05)


def test_a_trained_module_whose_weights_nothing_draws_anew_is_refused():
    backbone = MODELS.build(dict(CONVNEXT))
    branch = AuxiliaryBranch(backbone, 1, num_classes=10)
    assert (getattr(branch.stages.stages, '1')[0].gamma == 1e-6).all()
    with torch.no_grad():
        getattr(backbone.stages, '1')[0].gamma.normal_()
    with pytest.raises(InputError) as error:
        AuxiliaryBranch(backbone, 1, num_classes=10)
    assert str(error.value) == (
        'backbone ConvNeXt is a module, and its parameter stages.1.0.gamma cannot be drawn anew for the branches: expected '
        'the config of the backbone'
    )
    # A later branch does not have it.
    AuxiliaryBranch(backbone, 2, num_classes=10)


def test_a_classifier_of_several_layers_is_made_anew_for_each_branch():
    """MobileNetV3: its own hidden layer, normal with a deviation of 0.01, and the same activation and dropout."""
    model = build('MobileNetV3')
    heads = [model.head, *(branch.head for branch in model.branches)]
    for i, head in enumerate(heads):
        assert [type(head), head.layers[0].dropout.p, len(head.layers)] == [type(model.head), 0.2, 2]
        assert head.layers[0].fc.weight.std().item() == pytest.approx(0.01, rel=0.05)
        assert not any(torch.equal(head.layers[0].fc.weight, other.layers[0].fc.weight) for other in heads[:i])
    model.eval()
    pooled = global_average_pool(torch.rand(2, 288, 2, 2))
    (hidden, last), branch = model.branches[0].head.layers, model.branches[0]
    expected = last.fc(nn.functional.hardswish(hidden.fc(pooled)))
    torch.testing.assert_close(branch.classify(pooled), expected)
