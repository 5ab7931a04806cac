"""MixSKD under what users combine it with in a Runner: averaging, accumulation, clipping, compiling, autocast."""

import re

import pytest
import tiny
import torch
from mmengine.hooks import Hook
from mmengine.model import convert_sync_batchnorm
from mmengine.optim import OptimWrapper
from mmengine.registry import OPTIM_WRAPPERS
from torch import nn
from torch._dynamo.utils import counters
from torch.nn.modules.batchnorm import _BatchNorm

from mixskd_mm.differences import COMPILES
from mixskd_mm.errors import InputError

# No momentum or decay: an update is the learning rate times the gradient.
PLAIN_SGD = {'optim_wrapper.optimizer.momentum': 0.0, 'optim_wrapper.optimizer.weight_decay': 0.0}
ONE_EPOCH = {'train_cfg.max_epochs': 1}
TWO_STAGES = {
    'model.backbone.num_stages': 2,
    'model.backbone.strides': [1, 2],
    'model.backbone.dilations': [1, 1],
    'model.backbone.out_indices': [1],
    'model.head.in_channels': 16,
}


class Killed(Exception):
    pass


class Kill(Hook):
    """End the run within an epoch."""

    def __init__(self, epoch, batch_idx):
        self.when = epoch, batch_idx

    def before_train_iter(self, runner, batch_idx, data_batch=None):
        if (runner.epoch, batch_idx) == self.when:
            raise Killed


class Weights(Hook):
    """The parameters before training and after each iteration, each as one vector, and the losses."""

    def __init__(self):
        self.vectors, self.logs = [], []

    def note(self, runner):
        self.vectors.append(nn.utils.parameters_to_vector(runner.model.parameters()).detach().clone())

    def before_train(self, runner):
        self.note(runner)

    def after_train_iter(self, runner, batch_idx, data_batch=None, outputs=None):
        self.note(runner)
        self.logs.append({name: value.item() for name, value in outputs.items()})

    def updates(self):
        """Norm of each iteration's update."""
        return [(after - before).norm().item() for before, after in zip(self.vectors, self.vectors[1:])]


@pytest.fixture(scope='module')
def plain(tmp_path_factory):
    """A run without any of it."""
    weights = Weights()
    tiny.train(tiny.make_config(tmp_path_factory.mktemp('plain'), ONE_EPOCH), weights)
    return weights


def averaging(work_dir, averaged=True, **options):
    cfg = tiny.make_config(work_dir, {'train_cfg.max_epochs': 3, 'train_cfg.val_interval': 3, **options})
    if averaged:
        cfg.custom_hooks = [dict(type='EMAHook', momentum=0.1, update_buffers=True)]
    return cfg


@pytest.fixture(scope='module')
def averaged(tmp_path_factory):
    """Folder of a run that averages its weights."""
    work_dir = tmp_path_factory.mktemp('ema')
    tiny.train(averaging(work_dir))
    return work_dir


class TestEMA:
    def test_an_interrupted_run_ends_with_the_same_averages_to_the_bit(self, averaged, tmp_path):
        with pytest.raises(Killed):
            tiny.train(averaging(tmp_path), Kill(1, 2))
        tiny.train(averaging(tmp_path, resume=True))
        expected, resumed = (tiny.load(folder / 'epoch_3.pth') for folder in (averaged, tmp_path))
        for part in ('state_dict', 'ema_state_dict', 'optimizer', 'param_schedulers'):
            tiny.assert_same_state(expected[part], resumed[part])
        assert tiny.history(expected, 'lam') == tiny.history(resumed, 'lam')
        assert tiny.history(expected, 'loss') == tiny.history(resumed, 'loss')

    def test_the_checkpoint_holds_averages_beside_the_weights(self, averaged):
        checkpoint = tiny.load(averaged / 'epoch_3.pth')
        assert checkpoint['ema_state_dict']['steps'].item() == 12
        name = 'backbone.layer4.1.conv1.weight'
        # EMAHook swaps the two.
        average, trained = checkpoint['state_dict'][name], checkpoint['ema_state_dict'][f'module.{name}']
        assert average.isfinite().all() and not torch.equal(average, trained)

    def test_testing_evaluates_the_averages_with_and_without_the_hook(self, averaged, tmp_path):
        (validation,) = [row for row in tiny.scalars(averaged) if 'accuracy/top1' in row]
        for with_hook in (True, False):
            metrics = tiny.evaluate(averaging(tmp_path, with_hook), averaged / 'epoch_3.pth')
            assert metrics['accuracy/top1'] == validation['accuracy/top1']


def test_accumulated_gradients_step_every_second_iteration(tmp_path):
    weights = Weights()
    tiny.train(tiny.make_config(tmp_path, {**ONE_EPOCH, 'optim_wrapper.accumulative_counts': 2}), weights)
    assert [update > 0 for update in weights.updates()] == [False, True, False, True]


def test_an_accumulated_step_is_the_mean_of_its_gradients(tmp_path):
    """With one batch twice, two accumulated iterations make the step of one."""
    runs = []
    for name, options in (
        ('one', {'optim_wrapper.accumulative_counts': 1, 'train_dataloader.num_batch_per_epoch': 1}),
        (
            'two',
            {
                'optim_wrapper.accumulative_counts': 2,
                'train_dataloader.num_batch_per_epoch': 1,
                'train_cfg.max_epochs': 2,
            },
        ),
    ):
        options = {**ONE_EPOCH, **PLAIN_SGD, 'optim_wrapper.clip_grad': None, **options}
        # Without Mixup's draws or cropping, and with an order of its own: the same images in both epochs.
        options.update({'data_preprocessor.alpha': 1e-9, 'train_dataloader.sampler.shuffle': False})
        cfg = tiny.make_config(tmp_path / name, options)
        del cfg.train_dataloader.dataset.pipeline[1]
        # Only clean images: what is mixed changes from draw to draw.
        zero = dict(mixed_weight=0.0, feature_weight=0.0, dis_weight=0.0, logit_weight=0.0)
        cfg.merge_from_dict(dict(model=zero))
        cfg.param_scheduler = None
        runs.append(Weights())
        tiny.train(cfg, runs[-1])
    one, two = (run.vectors[-1] - run.vectors[0] for run in runs)
    torch.testing.assert_close(one, two, rtol=1e-3, atol=1e-4)
    assert one.norm() > 0.01


def test_clipping_bounds_the_step(tmp_path):
    weights = Weights()
    options = {**ONE_EPOCH, **PLAIN_SGD, 'optim_wrapper.clip_grad.max_norm': 2.0}
    runner = tiny.train(tiny.make_config(tmp_path, options), weights)
    norms, rates = (tiny.histories(runner.message_hub)[f'train/{name}'] for name in ('grad_norm', 'lr'))
    # The gradients were larger.
    assert min(norms) > 2
    assert weights.updates() == pytest.approx([2 * rate for rate in rates], rel=1e-3)


class CountGraphs(Hook):
    def __init__(self):
        self.graphs = []

    def after_train_iter(self, runner, batch_idx, data_batch=None, outputs=None):
        self.graphs.append(counters['stats']['unique_graphs'])


def loss_terms(row):
    """Without the accuracies, which one image changes that rounding classifies otherwise."""
    return {name: value for name, value in row.items() if 'loss' in name}


@pytest.mark.skipif(COMPILES, reason='this torch compiles the steps of the methods')
def test_compiling_with_an_old_torch_is_refused(tmp_path):
    with pytest.raises(
        InputError, match=rf"^compile={{'backend': 'eager'}}: torch {re.escape(torch.__version__)} .* 2\.11"
    ):
        tiny.train(tiny.make_config(tmp_path, {**ONE_EPOCH, 'compile': dict(backend='eager')}))


@pytest.mark.compiles
def test_a_compiled_step_learns_the_same_and_is_compiled_once(tmp_path):
    torch._dynamo.reset()
    counters.clear()
    # mmengine logs the norm of clipped gradients within the step, which compiles that function again and again.
    options = {**ONE_EPOCH, **TWO_STAGES, 'optim_wrapper.clip_grad': None, 'optim_wrapper.optimizer.lr': 0.01}
    plain, compiled, count = Weights(), Weights(), CountGraphs()
    tiny.train(tiny.make_config(tmp_path / 'plain', options), plain)
    tiny.train(tiny.make_config(tmp_path / 'compiled', {**options, 'compile': dict(backend='eager')}), compiled, count)
    # lam and the pairs change in each iteration; the optimiser has its buffers after the first.
    assert count.graphs[0] > 0 and len(set(count.graphs[1:])) == 1
    rows = [[loss_terms(row) for row in weights.logs] for weights in (plain, compiled)]
    assert rows[1][0] == pytest.approx(rows[0][0], rel=1e-4, abs=1e-6)
    torch.testing.assert_close(compiled.vectors[1], plain.vectors[1], rtol=1e-3, atol=1e-5)
    # Rounding errors grow from step to step.
    for expected, row in zip(*rows, strict=True):
        assert row == pytest.approx(expected, rel=1e-2, abs=1e-3)


@OPTIM_WRAPPERS.register_module()
class CPUAutocast(OptimWrapper):
    """AmpOptimWrapper for CPUs, which mmengine does not have."""

    def optim_context(self, model):
        stack = super().optim_context(model)

        class Both:
            def __enter__(self):
                self.autocast = torch.autocast('cpu', torch.bfloat16)
                stack.__enter__()
                self.autocast.__enter__()

            def __exit__(self, *error):
                self.autocast.__exit__(*error)
                return stack.__exit__(*error)

        return Both()


def test_bfloat16_autocast_trains(tmp_path, plain):
    weights = Weights()
    tiny.train(tiny.make_config(tmp_path, {**ONE_EPOCH, 'optim_wrapper.type': 'CPUAutocast'}), weights)
    # Half as many bits, so not the same, but close while the weights are.
    assert weights.logs[0] != plain.logs[0]
    for name in ('loss', 'loss_cls', 'loss_feature', 'loss_dis', 'loss_cls_h'):
        assert weights.logs[0][name] == pytest.approx(plain.logs[0][name], rel=0.05), name
    assert all(torch.tensor(list(row.values())).isfinite().all() for row in weights.logs)
    assert weights.vectors[-1].dtype == torch.float32 and weights.vectors[-1].isfinite().all()
    assert min(weights.updates()) > 0


def test_all_norms_become_synchronised_ones(build_mixskd, make_batch):
    images, samples = make_batch(dtype=torch.float64)
    losses = []
    for convert in (lambda model: model, lambda model: convert_sync_batchnorm(model, 'torch')):
        model = build_mixskd().double()
        norms = sum(isinstance(module, _BatchNorm) for module in model.modules())
        model = convert(model)
        torch.manual_seed(0)
        losses.append(model.loss(images, samples))
    synchronised = [module for module in model.modules() if isinstance(module, _BatchNorm)]
    assert len(synchronised) == norms > 40
    assert all(type(module) is nn.SyncBatchNorm for module in synchronised)
    # One process synchronises with nobody.
    assert {name: value.item() for name, value in losses[0].items()} == pytest.approx(
        {name: value.item() for name, value in losses[1].items()}
    )


@pytest.mark.parametrize(('batch_size', 'iterations'), [(13, 4), (16, 3)])
def test_a_last_batch_of_another_size_and_of_one_image(tmp_path, batch_size, iterations):
    weights = Weights()
    # 40 images: 13 + 13 + 13 + 1, or 16 + 16 + 8.
    tiny.train(tiny.make_config(tmp_path, {**ONE_EPOCH, 'train_dataloader.batch_size': batch_size}), weights)
    assert len(weights.logs) == iterations
    assert weights.vectors[-1].isfinite().all() and min(weights.updates()) > 0


@pytest.mark.parametrize('method', ['baseline', 'mixup'])
def test_the_methods_it_is_compared_with_resume_to_the_bit(tmp_path, method):
    runs = tmp_path / 'whole', tmp_path / 'resumed'
    tiny.train(tiny.make_config(runs[0], method=method))
    with pytest.raises(Killed):
        tiny.train(tiny.make_config(runs[1], method=method), Kill(1, 1))
    tiny.train(tiny.make_config(runs[1], {'resume': True}, method=method))
    expected, resumed = (tiny.load(folder / 'epoch_2.pth') for folder in runs)
    for part in ('state_dict', 'optimizer', 'param_schedulers'):
        tiny.assert_same_state(expected[part], resumed[part])
    assert tiny.history(expected, 'loss') == tiny.history(resumed, 'loss')
