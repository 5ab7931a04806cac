"""What training does to a model is right on each kind of backbone: recomputing, SyncBN, channels_last, compiling."""

import copy
from functools import partial

import pytest
import torch
from families import CONVNEXT, FAMILIES, Member
from mmengine.model import convert_sync_batchnorm
from mmpretrain.registry import MODELS
from torch import nn

from mixskd_mm.engine.channels_last import use_channels_last
from mixskd_mm.models import Mixture

MIXTURE = Mixture(0.3, [1, 2, 3, 0])


def build(name, with_cp=None, **kwargs):
    """In float64, with scales that are not 0 or 1e-6."""
    member = FAMILIES[name]
    backbone = dict(member.backbone) if with_cp is None else dict(member.backbone, with_cp=with_cp)
    torch.manual_seed(0)
    model = MODELS.build(member.config(backbone=backbone, **kwargs)).double()
    model.init_weights()
    with torch.no_grad():
        for p in model.parameters():
            if p.ndim == 1:
                p.add_(0.1 * torch.rand_like(p))
    return model.train() or model


def step(model, batch):
    """Losses, gradients and buffers after one step; the same paths are dropped each time."""
    torch.manual_seed(1)
    model.zero_grad(set_to_none=True)
    losses = model.loss(*batch, MIXTURE)
    sum(losses.values()).backward()
    gradients = {name: p.grad for name, p in model.named_parameters() if p.requires_grad}
    return losses, gradients, {name: b.clone() for name, b in model.named_buffers()}


def assert_same_step(model, other, batch, rtol=1e-7):
    (losses, gradients, buffers), (other_losses, other_gradients, other_buffers) = (
        step(model, batch),
        step(other, batch),
    )
    for term in losses:
        torch.testing.assert_close(other_losses[term], losses[term], rtol=rtol, atol=1e-15, msg=term)
    scale = max(g.abs().max().item() for g in gradients.values())
    for name, g in gradients.items():
        torch.testing.assert_close(other_gradients[name], g, rtol=rtol, atol=1e-9 * scale, msg=name)
    torch.testing.assert_close(other_buffers, buffers)


@pytest.mark.parametrize('name', ['MobileNetV2', 'EfficientNet', 'RepVGG', 'ConvNeXt', 'Swin'])
def test_blocks_that_are_recomputed_change_nothing(name, make_batch):
    """``backbone.with_cp``: in the backbone and in the branches, statistics once, and the same paths dropped."""
    batch = make_batch(size=64, dtype=torch.float64)
    model, other = build(name, with_cp=False), build(name, with_cp=True)
    for net in (other.backbone, *(branch.stages for branch in other.branches)):
        assert any(isinstance(vars(module).get('forward'), partial) for module in net.modules())
    assert_same_step(model, other, batch)


@pytest.mark.parametrize('name', ['MobileNetV3', 'VGG', 'ConvNeXt', 'Swin', 'VAN', 'timm EfficientNet', 'MobileOne'])
def test_stages_that_are_recomputed_change_nothing(name, make_batch):
    batch = make_batch(size=64, dtype=torch.float64)
    model, other = build(name), build(name, recompute_stages=[1, 2, 3])
    assert_same_step(model, other, batch)


def test_a_recomputed_stage_of_several_modules_runs_them_twice(make_batch):
    model = build('MobileNetV2', recompute_stages=[4])
    runs = []
    for name, module in model.named_modules():
        if name.endswith(('layer6', 'layer7', 'conv2', 'layer5')):
            module.register_forward_pre_hook(lambda *args, name=name: runs.append(name))
    sum(model.loss(*make_batch(size=64, dtype=torch.float64), MIXTURE).values()).backward()
    # Stage 4 is in the backbone and in three branches, stage 3 in the backbone and in two.
    counts = {end: sum(name.endswith(end) for name in runs) for end in ('layer5', 'layer6', 'layer7', 'conv2')}
    assert counts == {'layer5': 3, 'layer6': 8, 'layer7': 8, 'conv2': 8}


@pytest.mark.parametrize('name', ['MobileNetV2', 'VGG', 'DenseNet'])
def test_conversion_to_sync_bn_reaches_backbone_and_branches(name, make_batch):
    model = build(name)
    norms = {n for n, m in model.named_modules() if isinstance(m, nn.BatchNorm2d)}
    converted = convert_sync_batchnorm(copy.deepcopy(model))
    assert {n for n, m in converted.named_modules() if isinstance(m, nn.SyncBatchNorm)} == norms
    batch = make_batch(size=64, dtype=torch.float64)
    # On CPUs only in evaluation mode.
    model.eval(), converted.eval()
    losses, expected = converted.loss(*batch, MIXTURE), model.loss(*batch, MIXTURE)
    assert all(torch.equal(losses[term], expected[term]) for term in expected)


@pytest.mark.parametrize('name', ['MobileNetV2', 'ConvNeXt', 'Swin', 'VAN', 'timm EfficientNet'])
def test_channels_last_changes_nothing(name, make_batch):
    batch = make_batch(size=64, dtype=torch.float64)
    model, other = build(name), build(name)
    use_channels_last(other)
    assert_same_step(model, other, batch)


TWO_STAGES = {
    'RepVGG': Member(
        dict(
            type='RepVGG',
            arch=dict(num_blocks=[1, 1], width_factor=[1, 1], group_layer_map=None, se_cfg=None),
            base_channels=8,
            strides=(2, 2),
            dilations=(1, 1),
            out_indices=(1,),
        ),
        [8, 16],
    ),
    'ConvNeXt': Member(
        dict(CONVNEXT, arch=dict(depths=[1, 1], channels=[8, 16]), out_indices=[1]), [8, 16], pools_itself=True
    ),
    'Swin': Member(
        dict(
            type='SwinTransformer',
            arch=dict(embed_dims=8, depths=[1, 2], num_heads=[1, 2]),
            out_indices=(1,),
            window_size=2,
            drop_path_rate=0.0,
        ),
        [8, 16],
    ),
}


@pytest.mark.compiles
@pytest.mark.parametrize('name', TWO_STAGES)
def test_steps_are_compiled_once_and_give_the_same(name, make_batch):
    torch._dynamo.reset()
    torch.manual_seed(0)
    model = MODELS.build(TWO_STAGES[name].config()).double()
    model.init_weights()
    compiled = torch.compile(model.loss, backend='aot_eager')
    for i, lam in enumerate((0.3, 0.8, 0.5)):
        images, samples = make_batch(size=32, seed=i, dtype=torch.float64)
        mixture = Mixture(torch.tensor(lam, dtype=torch.float64), torch.tensor([1, 2, 3, 0]))
        with torch._dynamo.config.patch(error_on_recompile=i > 0):
            losses = compiled(images, samples, mixture)
        expected = model.loss(images, samples, mixture)
        for term in expected:
            torch.testing.assert_close(losses[term], expected[term], rtol=1e-9, atol=1e-12)
        grads, expected_grads = (
            torch.autograd.grad(sum(terms.values()), list(model.parameters())) for terms in (losses, expected)
        )
        torch.testing.assert_close(grads, expected_grads, rtol=1e-7, atol=1e-10)
    torch._dynamo.reset()
