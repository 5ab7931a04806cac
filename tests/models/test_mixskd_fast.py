"""The ways to a faster or smaller training step give what the plain step gives, and none waits for the device."""

import copy
import sys

import pytest
import tiny
import torch
from mmengine.optim import OptimWrapper, build_optim_wrapper
from mmpretrain.structures import DataSample
from torch import nn
from torch.multiprocessing import spawn
from torch.nn.parallel import DistributedDataParallel

from mixskd_mm.engine.channels_last import use_channels_last
from mixskd_mm.models import Mixture

sys.path.append(str(tiny.ROOT / 'tools/benchmark'))

from released_graph import ReleasedGraph

TERMS = {'loss_cls', 'loss_feature', 'loss_dis', 'loss_b_logit', 'loss_cls_h', 'loss_f_logit'}
MIXTURE = Mixture(0.3, [1, 2, 3, 0])
TWO_STAGES = dict(num_stages=2, strides=(1, 2), dilations=(1, 1), out_indices=(1,))


def gradients(model, losses):
    model.zero_grad(set_to_none=True)
    sum(losses.values()).backward()
    return {name: p.grad.clone() for name, p in model.named_parameters() if p.requires_grad}


def assert_same_training(model, other, batch, rtol=1e-9):
    """Losses, gradients and then the norms' running statistics of two models with the same weights, in float64."""
    losses, other_losses = model.loss(*batch, MIXTURE), other.loss(*batch, MIXTURE)
    assert set(losses) == set(other_losses) == TERMS
    for term in TERMS:
        torch.testing.assert_close(losses[term], other_losses[term], rtol=rtol, atol=0)
    grads, other_grads = gradients(model, losses), gradients(other, other_losses)
    assert grads.keys() == other_grads.keys()
    scale = max(grad.abs().max() for grad in grads.values())
    for name, grad in grads.items():
        torch.testing.assert_close(grad, other_grads[name], rtol=rtol, atol=1e-12 * scale, msg=name)
    for (name, a), b in zip(model.named_buffers(), other.buffers()):
        torch.testing.assert_close(a, b, msg=name)


# --- The released graph ------------------------------------------------------------------------------------------------

CASES = {
    'paper': dict(),
    'release': dict(
        clean_weight=1, dis_weight=0.25, discriminator=dict(type='Discriminator', num_logits=2, frozen=True)
    ),
    'other_weights': dict(
        feature_weight=1.7, dis_weight=0.6, logit_weight=dict(b_logit=0.9, cls_h=1.3, f_logit=2.1), temperature=4.5
    ),
    'some_stages': dict(teacher_stages=[4, 2], mixed_weight=0.75),
}


@pytest.mark.parametrize('case', CASES.values(), ids=CASES.keys())
def test_the_released_graph_gives_the_same_losses_and_gradients(case, build_mixskd, mixskd_cfg, make_batch):
    model = build_mixskd(**case).double()
    released = ReleasedGraph(**{key: value for key, value in mixskd_cfg(**case).items() if key != 'type'}).double()
    released.load_state_dict(model.state_dict())
    assert_same_training(model, released, make_batch(dtype=torch.float64))


def test_the_released_graph_reads_whole_maps(build_mixskd, mixskd_cfg, make_batch):
    """4 x 4 positions, interpolated and mixed: what pooling first saves."""
    shapes = []
    released = ReleasedGraph(**{key: value for key, value in mixskd_cfg().items() if key != 'type'})
    released.self_teacher.conv.register_forward_hook(lambda module, inputs, output: shapes.append(output.shape))
    released.loss(*make_batch(size=32), MIXTURE)
    assert shapes == [(4, 64, 4, 4)] * 2


# --- Activation checkpointing ------------------------------------------------------------------------------------------


def checkpointed(model, build_mixskd, **kwargs):
    """A model with the same weights that checkpoints its blocks, or the stages ``recompute_stages``."""
    if 'recompute_stages' not in kwargs:
        kwargs['backbone'] = dict(kwargs.get('backbone', {}), with_cp=True)
    other = build_mixskd(**kwargs).to(next(model.parameters()).dtype)
    other.load_state_dict(model.state_dict())
    return other


@pytest.mark.parametrize('depth', [18, 50], ids=['basic_blocks', 'bottlenecks'])
def test_checkpointing_changes_no_loss_gradient_or_running_statistic(depth, build_mixskd, make_batch):
    kwargs = dict(backbone=dict(depth=depth), head=dict(in_channels=64 if depth == 18 else 256))
    model = build_mixskd(**kwargs).double()
    assert_same_training(model, checkpointed(model, build_mixskd, **kwargs), make_batch(dtype=torch.float64))


@pytest.mark.parametrize('stages', [[1], [4, 2]])
def test_neither_does_checkpointing_some_stages(stages, build_mixskd, make_batch):
    model = build_mixskd().double()
    other = checkpointed(model, build_mixskd, recompute_stages=stages)
    assert_same_training(model, other, make_batch(dtype=torch.float64))


def test_terms_can_be_differentiated_one_by_one(build_mixskd, make_batch):
    """Several backward passes through one graph, as for the gradient norm of each term."""
    model, batch = build_mixskd().double(), make_batch(dtype=torch.float64)
    other = checkpointed(model, build_mixskd, recompute_stages=[1])
    gradients = []
    for m in (model, other):
        losses, weight = m.loss(*batch, MIXTURE), m.backbone.layer1[0].conv1.weight
        gradients.append([torch.autograd.grad(loss, weight, retain_graph=True)[0] for loss in losses.values()])
    torch.testing.assert_close(*gradients, rtol=1e-9, atol=1e-12)
    torch.testing.assert_close(dict(other.named_buffers()), dict(model.named_buffers()))


def bytes_kept(model, batch):
    """Of different tensors, other than parameters, that the graph of a loss keeps for the backward pass."""
    parameters = {p.data_ptr() for p in model.parameters()}
    kept = {}

    def keep(tensor):
        if tensor.data_ptr() not in parameters:
            kept[tensor.data_ptr()] = tensor.untyped_storage().nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        losses = model.loss(*batch, MIXTURE)
    assert losses
    return sum(kept.values())


def test_checkpointing_keeps_the_input_of_each_block(build_mixskd, make_batch):
    """Of a block with two convolutions and norms: one map instead of four and a fifth that the next block shares."""
    model, batch = build_mixskd(), make_batch(size=64)
    assert bytes_kept(checkpointed(model, build_mixskd), batch) < 0.45 * bytes_kept(model, batch)


def test_a_recomputed_stage_keeps_its_input(build_mixskd, make_batch):
    """Of the first stage, two blocks of 8 channels: not its eight maps but the last, which stage 2 needs too."""
    model, (images, samples) = build_mixskd(), make_batch(size=64)
    kept = [bytes_kept(m, (images, samples)) for m in (model, checkpointed(model, build_mixskd, recompute_stages=[1]))]
    one_map = 4 * 2 * len(images) * 8 * 64 * 64
    assert kept[0] - kept[1] == pytest.approx(7 * one_map, rel=0.02)


@pytest.mark.parametrize(
    'arguments, stages',
    [
        (dict(backbone=dict(with_cp=True)), (1, 2, 3, 4)),
        (dict(recompute_stages=[1, 2, 3, 4]), (1, 2, 3, 4)),
        (dict(recompute_stages=[1]), (1,)),
        (dict(recompute_stages=[4, 2]), (2, 4)),
        # Not once more for being in a stage and in a block.
        (dict(backbone=dict(with_cp=True), recompute_stages=[1]), (1, 2, 3, 4)),
        (dict(), ()),
    ],
)
def test_checkpointing_reaches_every_block_of_its_stages_in_backbone_and_branches(
    arguments, stages, build_mixskd, make_batch
):
    model = build_mixskd(**arguments)
    runs = []
    for name, module in model.named_modules():
        if name.endswith('conv2'):
            module.register_forward_hook(lambda *args, name=name: runs.append(name))
    losses = model.loss(*make_batch(), MIXTURE)
    blocks = sorted(runs)
    assert len(blocks) == len(set(blocks)) == 8 + 6 + 4 + 2
    sum(losses.values()).backward()
    # Each a second time.
    again = [name for name in blocks if any(f'layer{k}.' in name for k in stages)]
    # Stage k is in the backbone and in the k - 1 branches that start before it.
    assert len(again) == sum(2 * k for k in stages)
    assert sorted(runs) == sorted(blocks + again)
    # Without gradients there is nothing to keep.
    runs.clear()
    with torch.no_grad():
        model.loss(*make_batch(), MIXTURE)
    assert sorted(runs) == blocks


def test_a_copy_of_a_checkpointed_model_runs_its_own_blocks(build_mixskd, make_batch):
    """As the average of weights that a hook keeps."""
    model = build_mixskd(backbone=dict(with_cp=True))
    other = copy.deepcopy(model)
    expected = model.loss(*make_batch(), MIXTURE)
    with torch.no_grad():
        for p in model.parameters():
            p.zero_()
    losses = other.loss(*make_batch(), MIXTURE)
    assert all(torch.equal(losses[term], expected[term]) for term in TERMS)


def test_a_plain_classifier_of_the_same_backbone_predicts_the_same(build_mixskd, make_batch):
    model = build_mixskd()
    images, _ = make_batch()
    assert torch.equal(checkpointed(model, build_mixskd).eval()(images), model.eval()(images))


# --- Compiled ----------------------------------------------------------------------------------------------------------


@pytest.fixture
def fresh_compiler():
    torch._dynamo.reset()
    yield
    torch._dynamo.reset()


@pytest.mark.compiles
@pytest.mark.parametrize('arguments, backend', [(dict(), 'aot_eager'), (dict(recompute_stages=[1]), 'inductor')])
def test_checkpointing_works_compiled(arguments, backend, build_mixskd, make_batch, fresh_compiler):
    small = dict(backbone=TWO_STAGES, head=dict(in_channels=16))
    model = build_mixskd(**small).double()
    other = checkpointed(model, build_mixskd, **small, **arguments)
    other.loss = torch.compile(other.loss, backend=backend)
    assert_same_training(model, other, make_batch(size=8, dtype=torch.float64))


@pytest.mark.compiles
def test_nothing_is_compiled_again_while_the_learning_rate_changes(build_mixskd, make_batch, fresh_compiler):
    """Momentum is there from the second step on; then neither lam, nor the pairs, nor the rate compile anything.

    With a backend that traces the tensors' operations, as inductor does: one that does not, takes any rate for the same.
    """
    model = build_mixskd(backbone=TWO_STAGES, head=dict(in_channels=16), recompute_stages=[1])
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01, momentum=0.9, weight_decay=1e-4, fused=True)
    wrapper = OptimWrapper(optimizer)
    step = torch.compile(model.train_step, backend='aot_eager')
    drawn = set()
    for i in range(7):
        optimizer.param_groups[0]['lr'] = 0.01 * (i + 1)
        images, samples = make_batch(size=8, seed=i)
        with torch._dynamo.config.patch(error_on_recompile=i > 2):
            drawn.add(step(dict(inputs=images, data_samples=samples), wrapper)['lam'].item())
    assert len(drawn) == 7


# --- Waiting for the device --------------------------------------------------------------------------------------------


@pytest.mark.parametrize('released', [False, True])
def test_a_step_reads_nothing_back(released, build_mixskd, mixskd_cfg, make_batch, monkeypatch):
    """On a device that has no values to read."""
    # torch 2.4 looks there for the random state of the device before it recomputes.
    monkeypatch.setattr(torch, 'meta', torch.cpu, raising=False)
    settings = {key: value for key, value in mixskd_cfg().items() if key != 'type'}
    model = ReleasedGraph(**settings) if released else build_mixskd(recompute_stages=[1])
    model.to('meta')
    optimizer = dict(type='SGD', lr=0.1, momentum=0.9, weight_decay=1e-4)
    wrapper = build_optim_wrapper(model, dict(type='OptimWrapper', optimizer=optimizer))
    images, samples = make_batch()
    # A data set that keeps its samples gives the same ones again.
    for _ in range(2):
        logs = model.train_step(dict(inputs=images, data_samples=samples), wrapper)
    assert {value.device.type for value in logs.values()} == {'meta'}
    with pytest.raises(RuntimeError, match='meta'):
        logs['loss'].item()


@pytest.mark.gpu
def test_a_step_never_waits_for_the_gpu(build_mixskd, make_batch):
    model = build_mixskd(recompute_stages=[1]).cuda()
    images, samples = make_batch()
    images, samples = images.cuda(), [sample.cuda() for sample in samples]
    mixture = MIXTURE.to('cuda')
    wrapper = OptimWrapper(torch.optim.SGD(model.parameters(), lr=0.01, momentum=0.9))
    for attempt in range(2):
        try:
            # The first step sets up libraries.
            torch.cuda.set_sync_debug_mode('error' if attempt else 'default')
            loss, _ = model.parse_losses(model(images, samples, mode='loss', mixture=mixture))
            wrapper.update_params(loss)
        finally:
            torch.cuda.set_sync_debug_mode('default')


# --- Two processes -----------------------------------------------------------------------------------------------------


class Losses(nn.Module):
    """What ``DistributedDataParallel`` wraps here: images in, losses out."""

    def __init__(self, model):
        super().__init__()
        self.model = model

    def forward(self, images, samples, mixture):
        return self.model.loss(images, samples, mixture)


def share(rank):
    """The batch and the mixture of one process."""
    images = torch.randn(4, 3, 16, 16, generator=torch.Generator().manual_seed(rank), dtype=torch.float64)
    samples = [DataSample().set_gt_label(i + rank) for i in range(4)]
    return images, samples, Mixture([0.3, 0.8][rank], [[1, 2, 3, 0], [3, 2, 1, 0]][rank])


FAST = dict(gradient_as_bucket_view=True)


def two_steps(rank, model, folder, settings):
    """Train as a recipe does; with the settings ``FAST`` as configs/_base_/fast.py does."""
    torch.set_num_threads(1)
    torch.distributed.init_process_group('gloo', init_method=f'file://{folder}/store', rank=rank, world_size=2)
    # What a process is started with is shared with the others.
    model = copy.deepcopy(model)
    wrapped = DistributedDataParallel(Losses(model), broadcast_buffers=False, **settings)
    if settings:
        use_channels_last(model)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01, momentum=0.9, fused=bool(settings))
    for _ in range(2):
        gradients(wrapped, wrapped(*share(rank)))
        optimizer.step()
    torch.save(dict(model.named_parameters()), f'{folder}/{rank}.pth')
    torch.distributed.destroy_process_group()


@pytest.mark.parametrize(
    'arguments, settings', [(dict(backbone=dict(with_cp=True)), {}), (dict(recompute_stages=[1]), FAST)]
)
def test_two_checkpointed_processes_train_on_the_mean_of_their_gradients(arguments, settings, build_mixskd, tmp_path):
    """Each with a lam, pairs and BN statistics of its own. Twice: DDP orders its buckets anew after the first step."""
    model = build_mixskd(**arguments).double()
    spawn(two_steps, (model, tmp_path, settings), nprocs=2)
    ranks = [torch.load(tmp_path / f'{rank}.pth') for rank in range(2)]
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01, momentum=0.9)
    for _ in range(2):
        alone = [gradients(model, model.loss(*share(rank))) for rank in range(2)]
        for name, p in model.named_parameters():
            p.grad = (alone[0][name] + alone[1][name]) / 2
        optimizer.step()
    for name, p in model.named_parameters():
        assert torch.equal(ranks[0][name], ranks[1][name])
        torch.testing.assert_close(ranks[0][name], p, rtol=1e-9, atol=1e-12, msg=name)
