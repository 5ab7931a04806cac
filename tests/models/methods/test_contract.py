"""What every method keeps: a plain classifier when it predicts, gradients for all that trains, the baseline at weights of 0.

Over all leaf configs, each on three tiny networks where that costs little.
"""

from __future__ import annotations

import copy

import leaves
import pytest
import tiny
import torch
from mmengine.logging import MessageHub
from mmengine.optim import OptimWrapper
from mmengine.registry import DefaultScope
from mmpretrain.models import ImageClassifier
from mmpretrain.registry import MODELS
from torch import nn

from mixskd_mm.checkpoints.export import export
from mixskd_mm.checkpoints.parts import PREDICTING
from mixskd_mm.errors import InputError
from mixskd_mm.models import SelfDistillationClassifier, methods

EVERY = pytest.mark.parametrize('name', leaves.LEAVES)
EVERYWHERE = pytest.mark.parametrize('network', leaves.NETWORKS)

# Whose own cross-entropy is not that of the plain network on the same images: it counts branches or mixes images.
NOT_A_BASELINE = ('MixSKDClassifier', 'ManifoldMixupClassifier')


def plain(model, **parts):
    """A plain classifier with the weights that ``model`` predicts with, in training mode."""
    parts = {part: copy.deepcopy(getattr(model, part)) for part in ('backbone', 'neck', 'head')}
    return ImageClassifier(**parts).train()


def gradients(model, losses):
    model.zero_grad(set_to_none=True)
    sum(losses.values()).backward()
    return {name: p.grad for name, p in model.named_parameters() if p.requires_grad}


def test_every_method_has_a_leaf_config():
    found = {leaves.leaf_config(name).model.type for name in leaves.LEAVES}
    registered = {name for name in methods.__all__ if issubclass(getattr(methods, name), SelfDistillationClassifier)}
    assert found == registered


@EVERY
def test_leaf_configs_have_at_most_ten_lines(name):
    lines = leaves.LEAVES[name].read_text().splitlines()
    assert len(lines) <= 10


@EVERY
@EVERYWHERE
def test_predicts_as_the_plain_network(name, network):
    cfg = leaves.leaf_config(name, network, **{'model.test_network': 0} if name == 'dcm' else {})
    model = leaves.build(cfg)
    images = leaves.prepared(model, leaves.batches(cfg)[0])['inputs']
    expected = plain(model)
    keys = {key for key in model.state_dict() if key.startswith(PREDICTING)}
    assert keys == set(expected.state_dict())
    for one in (model, expected):
        one.eval()
    assert torch.equal(model(images), expected(images))
    alone = model.to_plain()
    assert type(alone) is ImageClassifier and set(alone.state_dict()) == keys
    assert torch.equal(alone(images), expected(images))
    scores = [sample.pred_score for sample in model.predict(images)]
    torch.testing.assert_close(torch.stack(scores), expected(images).softmax(1))


@EVERY
@EVERYWHERE
def test_each_parameter_that_trains_is_part_of_the_loss(name, network):
    """What several processes wait for, without find_unused_parameters."""
    cfg = leaves.leaf_config(name, network)
    model = leaves.build(cfg)
    losses = model.loss(**leaves.prepared(model, leaves.batches(cfg)[0]))
    assert all(loss.ndim == 0 and loss.isfinite() and term.startswith('loss') for term, loss in losses.items())
    grads = gradients(model, losses)
    assert [key for key, grad in grads.items() if grad is None] == []
    assert all(grad.isfinite().all() for grad in grads.values())
    # Biases before a norm have an effect of zero; matrices and kernels have some.
    assert [key for key, grad in grads.items() if grad.ndim > 1 and not grad.any()] == []


@EVERY
@EVERYWHERE
def test_weights_of_0_are_the_baseline(name, network):
    cfg = leaves.leaf_config(name, network)
    if cfg.model.type in NOT_A_BASELINE:
        pytest.skip('counts more cross-entropies than the plain network')
    weights = leaves.distillation_weights(cfg)
    assert weights
    cfg.model.update(weights)
    model = leaves.build(cfg).double()
    batch = leaves.prepared(model, leaves.batches(cfg)[0])
    baseline = plain(model)
    losses = model.loss(**batch)
    grads = gradients(model, losses)
    images, labels = batch['inputs'], torch.cat([sample.gt_label for sample in batch['data_samples']])
    # The rest are partners, or mixed images.
    if name.startswith(('cs-kd', 'supermix')):
        images, labels = images[: len(images) // 2], labels[: len(labels) // 2]
    scores = nn.functional.one_hot(labels, 10).double()
    if 'mixture' in batch:
        mixture = batch['mixture']
        if len(mixture.index) != len(images):
            pytest.skip('the mixture is of images and partners')
        images, scores = mixture(images), mixture(scores)
    logits = baseline(images)
    expected = -(scores * logits.log_softmax(1)).sum(1).mean()
    own = [loss for term, loss in losses.items()]
    total = sum(own)
    if name == 'dcm':
        peer_logits = copy.deepcopy(model.peer).train()(images)
        total = total - -(scores * peer_logits.log_softmax(1)).sum(1).mean()
    torch.testing.assert_close(total, expected)
    for key, grad in gradients(baseline, {'loss': expected}).items():
        torch.testing.assert_close(grads[key], grad, msg=key)


WEIGHTS = [(name, weight) for name in leaves.LEAVES for weight in leaves.distillation_weights(leaves.leaf_config(name))]


@pytest.mark.parametrize('value', [-1.0, float('nan'), '1'])
@pytest.mark.parametrize(('name', 'weight'), WEIGHTS)
def test_a_wrong_weight_ends_in_one_line(name, weight, value):
    cfg = leaves.leaf_config(name)
    cfg.model[weight] = value
    with pytest.raises(InputError) as error:
        leaves.build(cfg)
    message = str(error.value)
    assert message.startswith(f'{cfg.model.type} {weight}={value!r}: expected ') and len(message.splitlines()) == 1


@EVERY
def test_losses_under_autocast_are_float32_and_close(name):
    cfg = leaves.leaf_config(name)
    model = leaves.build(cfg)
    batch = leaves.prepared(model, leaves.batches(cfg)[0])
    reference = copy.deepcopy(model)
    expected = reference.loss(**batch)
    with torch.autocast('cpu', torch.bfloat16):
        losses = model.loss(**batch)
    assert losses.keys() == expected.keys()
    for term, loss in losses.items():
        assert loss.dtype == torch.float32
        assert loss.item() == pytest.approx(expected[term].item(), rel=0.1, abs=0.02)
    grads = gradients(model, losses)
    assert all(grad.isfinite().all() for grad in grads.values())


@EVERY
def test_a_step_reads_nothing_back_from_the_device(name):
    """On a device that has no values to read; labels may be on the host while images are not."""
    cfg = leaves.leaf_config(name)
    model = leaves.build(cfg)
    rows = leaves.batches(cfg, 2)
    model.to('meta')
    wrapper = OptimWrapper(torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9))
    for row in rows:
        logs = model.train_step(row, wrapper)
    assert {value.device.type for value in logs.values()} == {'meta'}


@EVERY
def test_nan_reaches_a_loss(name):
    """Nothing hides it from the hook that stops the run and names the term."""
    cfg = leaves.leaf_config(name)
    model = leaves.build(cfg)
    batch = leaves.prepared(model, leaves.batches(cfg)[0])
    with torch.no_grad():
        model.head.fc.weight[0, 0] = float('nan')
    losses = model.loss(**batch)
    assert not losses[next(iter(losses))].isfinite()


@pytest.mark.compiles
@EVERY
def test_compiled_once_and_with_the_same_numbers(name):
    torch._dynamo.reset()
    cfg = leaves.leaf_config(name, 'wrn')
    model = leaves.build(cfg)
    rows = leaves.batches(cfg, 3)
    eager = copy.deepcopy(model)
    wrappers = [OptimWrapper(torch.optim.SGD(m.parameters(), lr=0.01)) for m in (model, eager)]
    step = torch.compile(model.train_step, backend='eager')
    for i, row in enumerate(rows):
        torch.manual_seed(i)
        # Nothing is compiled for other images, labels, mixtures or epochs; statistics exist from the second step on.
        with torch._dynamo.config.patch(error_on_recompile=i == 2):
            logs = step(copy.deepcopy(row), wrappers[0])
        torch.manual_seed(i)
        expected = eager.train_step(copy.deepcopy(row), wrappers[1])
        assert logs.keys() == expected.keys()
        for key in expected:
            torch.testing.assert_close(logs[key], expected[key], rtol=1e-3, atol=1e-4, msg=key)
    torch._dynamo.reset()


class TestRuns:
    """In a Runner: a run that is cut off and resumed ends as the uninterrupted one, and exports as a plain classifier."""

    @pytest.fixture(scope='class', params=leaves.LEAVES)
    def run(self, request, tmp_path_factory):
        folder = tmp_path_factory.mktemp(request.param)
        cfg = leaves.leaf_config(request.param)
        cfg.work_dir = str(folder)
        tiny.train(cfg)
        return request.param, folder

    def test_resumes_to_the_bit(self, run, tmp_path):
        name, folder = run
        cfg = leaves.leaf_config(name, resume=True, load_from=str(folder / 'epoch_1.pth'))
        cfg.work_dir = str(tmp_path)
        tiny.train(cfg)
        expected, resumed = tiny.load(folder / 'epoch_2.pth'), tiny.load(tmp_path / 'epoch_2.pth')
        for part in ('state_dict', 'optimizer', 'param_schedulers'):
            tiny.assert_same_state(expected[part], resumed[part])
        assert tiny.history(expected, 'loss') == tiny.history(resumed, 'loss')

    def test_is_exported_and_starts_other_networks_as_a_plain_classifier(self, run, tmp_path):
        _, folder = run
        checkpoint = folder / 'epoch_2.pth'
        out = tmp_path / 'plain.pth'
        export(str(checkpoint), str(out))
        state = torch.load(out, weights_only=True)['state_dict']
        assert all(key.startswith(PREDICTING) for key in state)
        with DefaultScope.overwrite_default_scope('mmpretrain'):
            backbone = dict(tiny.make_config(tmp_path).model.backbone)
            init_cfg = dict(type='Pretrained', checkpoint=str(checkpoint), prefix='backbone.')
            model = MODELS.build(dict(backbone, init_cfg=init_cfg))
            model.init_weights()
        for key, value in model.state_dict().items():
            assert torch.equal(value, state[f'backbone.{key}']), key
        evaluated = tiny.evaluate(tiny.make_config(tmp_path, method='baseline'), out)
        assert 'accuracy/top1' in evaluated


class Losses(nn.Module):
    """What ``DistributedDataParallel`` wraps here: what ``loss`` takes in, losses out."""

    def __init__(self, model):
        super().__init__()
        self.model = model

    def forward(self, batch):
        return self.model.loss(**batch)


def rank_batch(cfg, model, rank):
    """The arguments of ``loss`` in one process."""
    return leaves.prepared(model, leaves.batches(cfg, 2)[rank], seed=rank)


def train_in_one_of_two(rank, names, folder):
    torch.set_num_threads(1)
    # What a training before the fork left there, such as its epoch.
    MessageHub.get_current_instance().runtime_info.clear()
    # Samplers would give each process other images.
    prepared = {}
    for name in names:
        cfg = leaves.leaf_config(name, 'wrn')
        model = leaves.build(cfg).double()
        prepared[name] = model, rank_batch(cfg, model, rank)
    torch.distributed.init_process_group('gloo', init_method=f'file://{folder}/store', rank=rank, world_size=2)
    for name, (model, batch) in prepared.items():
        wrapped = nn.parallel.DistributedDataParallel(Losses(model), broadcast_buffers=False)
        for _ in range(2):
            # DDP orders its buckets anew after the first pass, and would wait here for a parameter without gradient.
            grads = gradients(model, wrapped(batch))
        torch.save(grads, f'{folder}/{name}_{rank}.pth')
    torch.distributed.destroy_process_group()


@pytest.fixture(scope='module')
def two_processes(tmp_path_factory):
    """A folder with each rank's gradients of each recipe, as both processes agreed on them."""
    folder = tmp_path_factory.mktemp('ranks')
    # Forked: to import the libraries would take longer than all the steps.
    arguments = list(leaves.LEAVES), str(folder)
    torch.multiprocessing.start_processes(train_in_one_of_two, arguments, nprocs=2, start_method='fork')
    return folder


@EVERY
def test_two_processes_train_on_the_mean_of_their_gradients(name, two_processes):
    """Each with images, mixtures and BN statistics of its own."""
    ranks = [torch.load(two_processes / f'{name}_{rank}.pth', weights_only=True) for rank in range(2)]
    cfg = leaves.leaf_config(name, 'wrn')
    alone = []
    for rank in range(2):
        model = leaves.build(cfg).double()
        batch = rank_batch(cfg, model, rank)
        alone.append(gradients(model, model.loss(**batch)))
    assert alone[0].keys() == ranks[0].keys()
    for key, grad in alone[0].items():
        assert torch.equal(ranks[0][key], ranks[1][key])
        torch.testing.assert_close(ranks[0][key], (grad + alone[1][key]) / 2, rtol=1e-8, atol=1e-11, msg=key)
