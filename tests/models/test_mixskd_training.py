"""MixSKD gives the same numbers however it is run: precision, memory format, compiler, wrappers, batch sizes."""

import copy

import pytest
import torch
from mmengine.model import ExponentialMovingAverage, convert_sync_batchnorm
from mmengine.optim import AmpOptimWrapper, OptimWrapper
from mmengine.optim.optimizer import amp_optimizer_wrapper
from mmpretrain.structures import DataSample
from torch import nn

from mixskd_mm.models import Mixture

TERMS = {'loss_cls', 'loss_feature', 'loss_dis', 'loss_b_logit', 'loss_cls_h', 'loss_f_logit'}
MIXTURE = Mixture(0.3, [1, 2, 3, 0])


def gradients(model, losses):
    model.zero_grad(set_to_none=True)
    sum(losses.values()).backward()
    return {name: p.grad.clone() for name, p in model.named_parameters()}


# --- Precision ---------------------------------------------------------------------------------------------------------


def test_losses_under_bf16_autocast_are_float32_and_close(build_mixskd, make_batch):
    model, batch = build_mixskd(), make_batch()
    expected = model.loss(*batch, MIXTURE)
    grads = gradients(model, expected)
    with torch.autocast('cpu', torch.bfloat16):
        losses = model.loss(*batch, MIXTURE)
    assert set(losses) == TERMS
    for term, loss in losses.items():
        assert loss.dtype == torch.float32
        # The largest difference is that of loss_b_logit, 1 to 2 % with the kernels of different processors.
        assert loss.item() == pytest.approx(expected[term].item(), rel=0.06)
    # bfloat16 really was used: the sum is not the float32 one.
    assert sum(losses.values()).item() != sum(expected.values()).item()
    amp_grads = gradients(model, losses)
    flat, flat_amp = (torch.cat([g.flatten() for g in gs.values()]) for gs in (grads, amp_grads))
    assert torch.nn.functional.cosine_similarity(flat, flat_amp, dim=0) > 0.95


def test_losses_are_finite_under_bf16_autocast_at_extreme_logits(build_mixskd, make_batch):
    """Classifiers scaled until softmax of every head is one-hot and each sigmoid is 0 or 1."""
    model = build_mixskd()
    with torch.no_grad():
        for fc in [branch.head.fc for branch in model.branches] + [model.head.fc, model.self_teacher.fc]:
            fc.weight.mul_(1e5)
        for D in model.discriminators:
            D.mlp[2].weight.mul_(1e5)
    with torch.autocast('cpu', torch.bfloat16):
        losses = model.loss(*make_batch(), MIXTURE)
    assert min(losses[term].item() for term in TERMS - {'loss_feature'}) > 1e3
    assert all(loss.isfinite() for loss in losses.values())
    assert all(grad.isfinite().all() for grad in gradients(model, losses).values())


@pytest.mark.gpu
@pytest.mark.parametrize('dtype', [torch.float16, torch.bfloat16])
def test_amp_training_on_a_gpu_gives_finite_losses_close_to_float32(dtype, build_mixskd, make_batch):
    model = build_mixskd().cuda()
    images, samples = make_batch(4)
    images, samples = images.cuda(), [sample.cuda() for sample in samples]
    expected = model.loss(images, samples, MIXTURE.to('cuda'))
    with torch.autocast('cuda', dtype):
        losses = model.loss(images, samples, MIXTURE.to('cuda'))
    for term, loss in losses.items():
        assert loss.dtype == torch.float32
        assert loss.item() == pytest.approx(expected[term].item(), rel=0.05)
    wrapper = AmpOptimWrapper(
        dtype='float16' if dtype == torch.float16 else 'bfloat16',
        optimizer=torch.optim.SGD(model.parameters(), lr=0.01),
    )
    for _ in range(3):
        logs = model.train_step(dict(inputs=images, data_samples=samples), wrapper)
        assert logs['loss'].isfinite()


# --- Memory format -----------------------------------------------------------------------------------------------------


def test_channels_last_gives_the_same_losses_and_gradients(build_mixskd, make_batch):
    model = build_mixskd().double()
    images, samples = make_batch(dtype=torch.float64)
    expected = model.loss(images, samples, MIXTURE)
    expected_grads = gradients(model, expected)

    formats = []
    model.to(memory_format=torch.channels_last)
    model.branches[0].register_forward_hook(
        lambda module, inputs, output: formats.append(output.is_contiguous(memory_format=torch.channels_last))
    )
    losses = model.loss(images.contiguous(memory_format=torch.channels_last), samples, MIXTURE)
    assert formats == [True]
    for term in TERMS:
        torch.testing.assert_close(losses[term], expected[term], rtol=1e-10, atol=0)
    for name, grad in gradients(model, losses).items():
        torch.testing.assert_close(grad, expected_grads[name], rtol=1e-8, atol=1e-10)


# --- torch.compile -----------------------------------------------------------------------------------------------------

TWO_STAGES = dict(num_stages=2, strides=(1, 2), dilations=(1, 1), out_indices=(1,))


@pytest.fixture
def two_stage_model(build_mixskd):
    """Fewer layers to compile, in a compiler that knows none of them yet."""
    torch._dynamo.reset()
    yield build_mixskd(backbone=TWO_STAGES, head=dict(in_channels=16))
    torch._dynamo.reset()


@pytest.mark.compiles
def test_compiled_training_gives_the_same_numbers_and_is_compiled_once(two_stage_model, make_batch):
    """``train_step``, which a Runner compiles with ``compile=True``.

    Another lam, another pairing and other labels compile nothing; the first batch of another size compiles the network
    once more, for any size.
    """
    model, graphs = two_stage_model, []

    def backend(graph, inputs):
        graphs.append(graph)
        return graph.forward

    def convolutions():
        return [count for g in graphs if (count := sum(node.target is torch.conv2d for node in g.graph.nodes))]

    wrapper = OptimWrapper(torch.optim.SGD(model.parameters(), lr=0.01))
    step = torch.compile(model.train_step, backend=backend)
    eager = copy.deepcopy(model)
    eager_wrapper = OptimWrapper(torch.optim.SGD(eager.parameters(), lr=0.01))
    drawn, compiled = set(), []
    for seed, n in enumerate([4, 4, 4, 3, 5, 4]):
        images, samples = make_batch(n, size=8, seed=seed)
        torch.manual_seed(seed)
        with torch._dynamo.config.patch(error_on_recompile=seed in (1, 2)):
            logs = step(dict(inputs=images, data_samples=samples), wrapper)
        torch.manual_seed(seed)
        expected = eager.train_step(dict(inputs=images, data_samples=samples), eager_wrapper)
        assert logs.keys() == expected.keys()
        for name in expected:
            torch.testing.assert_close(logs[name], expected[name], rtol=1e-4, atol=1e-5)
        drawn.add(logs['lam'].item())
        compiled.append(len(graphs))
    for (name, p), q in zip(model.named_parameters(), eager.parameters()):
        torch.testing.assert_close(p, q, rtol=1e-4, atol=1e-5, msg=name)
    assert len(drawn) == 6
    assert compiled == [compiled[0]] * 3 + [compiled[0] + 1] * 3
    # One graph holds the whole network: the stem, stage 1, stage 2 with its projection in backbone and branch, and h.
    assert convolutions() == [1 + 4 + 5 + 5 + 1] * 2


@pytest.mark.compiles
def test_a_step_in_mixed_precision_is_compiled_once(two_stage_model, make_batch, monkeypatch):
    """As configs/_base_/fast.py has it, but for the GPU: autocast to bfloat16 without a scale, a fused optimiser."""
    monkeypatch.setattr(amp_optimizer_wrapper, 'is_cuda_available', lambda: True)
    optimizer = torch.optim.SGD(two_stage_model.parameters(), lr=0.01, momentum=0.9, fused=True)
    wrapper = AmpOptimWrapper(dtype='bfloat16', loss_scale=dict(enabled=False), optimizer=optimizer)
    step = torch.compile(two_stage_model.train_step, backend='aot_eager')
    losses = []
    for seed in range(4):
        images, samples = make_batch(size=8)
        with torch._dynamo.config.patch(error_on_recompile=seed == 3):
            losses.append(step(dict(inputs=images, data_samples=samples), wrapper)['loss'].item())
    assert losses[-1] < losses[0]


@pytest.mark.compiles
def test_compiled_gradients_are_those_of_eager_mode(two_stage_model, make_batch):
    """With a backward graph that is traced too."""
    images, samples = make_batch(size=8, dtype=torch.float64)
    eager = copy.deepcopy(two_stage_model.double())
    expected = eager.loss(images, samples, MIXTURE)
    losses = torch.compile(two_stage_model.loss, backend='aot_eager')(images, samples, MIXTURE)
    for term in TERMS:
        torch.testing.assert_close(losses[term], expected[term], rtol=1e-9, atol=0)
    expected_grads = gradients(eager, expected)
    for name, grad in gradients(two_stage_model, losses).items():
        torch.testing.assert_close(grad, expected_grads[name], rtol=1e-8, atol=1e-10, msg=name)
    for a, b in zip(two_stage_model.buffers(), eager.buffers()):
        torch.testing.assert_close(a, b)


# --- Norms, averages, accumulation -------------------------------------------------------------------------------------


def test_sync_bn_conversion_reaches_the_branches_and_changes_no_loss(build_mixskd, make_batch):
    model, batch = build_mixskd().double(), make_batch(dtype=torch.float64)
    expected = copy.deepcopy(model).loss(*batch, MIXTURE)
    norms = {name for name, m in model.named_modules() if isinstance(m, nn.BatchNorm2d)}
    keys = list(model.state_dict())
    converted = convert_sync_batchnorm(model)
    assert {name for name, m in converted.named_modules() if isinstance(m, nn.SyncBatchNorm)} == norms
    assert not any(isinstance(m, nn.BatchNorm2d) for m in converted.modules())
    assert sum(name.startswith('branches.') for name in norms) == 15 + 10 + 5
    assert list(converted.state_dict()) == keys
    losses = converted.loss(*batch, MIXTURE)
    for term in TERMS:
        torch.testing.assert_close(losses[term], expected[term], rtol=1e-9, atol=0)


def test_ema_averages_all_parameters_auxiliary_ones_included(build_mixskd, make_batch):
    model = build_mixskd()
    ema = ExponentialMovingAverage(model, momentum=0.25)
    ema.update_parameters(model)
    before = {name: p.detach().clone() for name, p in model.named_parameters()}
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    sum(model.loss(*make_batch(), MIXTURE).values()).backward()
    optimizer.step()
    ema.update_parameters(model)
    averaged = dict(ema.module.named_parameters())
    assert averaged.keys() == before.keys()
    for name, p in model.named_parameters():
        assert not torch.equal(p, before[name])
        torch.testing.assert_close(averaged[name], 0.75 * before[name] + 0.25 * p)
    # The average is a classifier of its own.
    ema.module.eval()
    images, _ = make_batch()
    assert not torch.equal(ema(images), model.eval()(images))


def two_batches(make_batch):
    return [
        (make_batch(4, seed=seed), Mixture(lam, index))
        for seed, lam, index in [(1, 0.3, [1, 2, 3, 0]), (2, 0.9, [3, 2, 1, 0])]
    ]


def test_accumulated_gradients_are_the_mean_of_the_batches(build_mixskd, make_batch):
    model = build_mixskd().double()
    batches = [((images.double(), samples), m) for (images, samples), m in two_batches(make_batch)]
    separate = [gradients(model, model.loss(*batch, mixture)) for batch, mixture in batches]
    before = {name: p.detach().clone() for name, p in model.named_parameters()}
    wrapper = OptimWrapper(torch.optim.SGD(model.parameters(), lr=1.0), accumulative_counts=2)
    wrapper.initialize_count_status(model, init_counts=0, max_counts=2)
    model.zero_grad(set_to_none=True)
    for i, (batch, mixture) in enumerate(batches):
        with wrapper.optim_context(model):
            loss = sum(model.loss(*batch, mixture).values())
        wrapper.update_params(loss)
        assert all(torch.equal(p, before[name]) for name, p in model.named_parameters()) is (i == 0)
    for name, p in model.named_parameters():
        mean = (separate[0][name] + separate[1][name]) / 2
        torch.testing.assert_close(before[name] - p.detach(), mean, rtol=1e-8, atol=1e-10)


def test_clipping_limits_the_norm_over_all_parameters_and_keeps_the_direction(build_mixskd, make_batch):
    model = build_mixskd().double()
    images, samples = make_batch(dtype=torch.float64)
    grads = gradients(model, model.loss(images, samples, MIXTURE))
    norm = torch.stack([g.norm() for g in grads.values()]).norm()
    assert norm > 5
    before = {name: p.detach().clone() for name, p in model.named_parameters()}
    wrapper = OptimWrapper(torch.optim.SGD(model.parameters(), lr=1.0), clip_grad=dict(max_norm=0.5))
    wrapper.update_params(sum(model.loss(images, samples, MIXTURE).values()))
    for name, p in model.named_parameters():
        torch.testing.assert_close(before[name] - p.detach(), 0.5 / norm * grads[name], rtol=1e-5, atol=1e-10)


# --- Batches -----------------------------------------------------------------------------------------------------------


def test_a_batch_of_one_trains(build_mixskd, make_batch):
    """Its only pair is (i, i): nothing to distil between clean and mixed, but every term is there."""
    model = build_mixskd()
    images, samples = make_batch(1, size=32)
    losses = model.loss(images, samples)
    assert set(losses) == TERMS
    assert losses['loss_feature'].item() == pytest.approx(0, abs=1e-8)
    assert losses['loss_b_logit'].item() == pytest.approx(0, abs=1e-5)
    assert all(grad.isfinite().all() for grad in gradients(model, losses).values())


def test_train_step_takes_what_a_data_loader_gives(build_mixskd):
    """uint8 images in a list, labels in data samples; what is returned is what is logged."""
    normalise = dict(mean=[127.5] * 3, std=[50.0] * 3)
    model = build_mixskd(data_preprocessor=dict(alpha=0.4, **normalise))
    generator = torch.Generator().manual_seed(0)
    images = [torch.randint(256, (3, 16, 16), generator=generator, dtype=torch.uint8) for _ in range(5)]
    samples = [DataSample().set_gt_label(i) for i in range(5)]
    reference = copy.deepcopy(model)

    wrapper = OptimWrapper(torch.optim.SGD(model.parameters(), lr=0.01))
    torch.manual_seed(8)
    logs = model.train_step(dict(inputs=images, data_samples=samples), wrapper)

    torch.manual_seed(8)
    mixture = reference.data_preprocessor.draw(5)
    expected = reference.loss((torch.stack(images).float() - 127.5) / 50, samples, mixture)
    assert logs['lam'] == mixture.lam
    for term in TERMS:
        torch.testing.assert_close(logs[term], expected[term])
    torch.testing.assert_close(logs['loss'], sum(expected.values()))
    grads = gradients(reference, expected)
    for (name, p), q in zip(model.named_parameters(), reference.parameters()):
        torch.testing.assert_close(p.detach(), q.detach() - 0.01 * grads[name], msg=name)
