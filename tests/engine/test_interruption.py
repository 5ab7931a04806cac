"""SIGTERM ends a training with a checkpoint, from which it continues to the bit."""

import gc
import os
import signal

import pytest
import tiny
import torch
from mmengine.hooks import Hook

from mixskd_mm.differences import SKIPS_BATCHES
from mixskd_mm.resuming.find import latest_checkpoint

# Trainings of two epochs of four iterations.


class Terminate(Hook):
    """Send this process the signal when ``stage`` begins for the ``count``-th time."""

    def __init__(self, stage, count):
        self.count = count
        setattr(self, f'before_{stage}_iter', self.send)

    def send(self, runner, *args, **kwargs):
        self.count -= 1
        if not self.count:
            os.kill(os.getpid(), signal.SIGTERM)


class Validations(Hook):
    def __init__(self):
        self.at = []

    def after_val_epoch(self, runner, metrics=None):
        self.at.append(runner.iter)


def stop(work_dir, hook, options=None, make_config=tiny.make_config):
    with pytest.raises(SystemExit) as exit:
        tiny.train(make_config(work_dir, options), hook)
    assert exit.value.code == 143
    del exit
    # The loader and its workers, which the traceback held.
    gc.collect()
    return tiny.load(work_dir / 'interrupted.pth')


def go_on(work_dir, options=None, *hooks):
    latest, notes = latest_checkpoint(work_dir)
    assert notes == []
    tiny.train(tiny.make_config(work_dir, {**(options or {}), 'load_from': str(latest), 'resume': True}), *hooks)


def assert_equal(one, other):
    for part in ('state_dict', 'optimizer', 'param_schedulers'):
        tiny.assert_same_state(one[part], other[part])
    for key in ('lam', 'loss'):
        assert tiny.history(one, key) == tiny.history(other, key)


@pytest.fixture(scope='module')
def whole(tmp_path_factory):
    """The last checkpoint of uninterrupted runs, by number of workers."""
    ends = {}
    for workers in (0, 2):
        work_dir = tmp_path_factory.mktemp('whole')
        tiny.train(tiny.make_config(work_dir, {'train_dataloader.num_workers': workers}))
        ends[workers] = tiny.load(work_dir / 'epoch_2.pth')
    return ends


@pytest.fixture(autouse=True)
def handler():
    """Pytest's own afterwards: a training that ends early leaves the hook's."""
    before = signal.getsignal(signal.SIGTERM)
    yield
    signal.signal(signal.SIGTERM, before)


@pytest.mark.parametrize('workers', [0, 2])
@pytest.mark.parametrize('iteration', [2, 4, 7])
def test_sigterm_saves_after_the_iteration_and_the_run_continues_to_the_bit(
    tmp_path, whole, capsys, iteration, workers
):
    options = {'train_dataloader.num_workers': workers}
    saved = stop(tmp_path, Terminate('train', iteration), options)
    told = f'SIGTERM: the training ends after iteration {iteration}; {tmp_path}/interrupted.pth is saved; --resume continues'
    assert told in capsys.readouterr().err
    assert saved['meta']['iter'] == iteration
    assert (tmp_path / 'last_checkpoint').read_text() == str(tmp_path / 'interrupted.pth')
    go_on(tmp_path, options)
    assert sorted(path.name for path in tmp_path.glob('*.pth')) == ['epoch_1.pth', 'epoch_2.pth']
    resumed = tiny.load(tmp_path / 'epoch_2.pth')
    assert_equal(whole[workers], resumed)


def counting(work_dir, options):
    """A config of a training that counts iterations, not epochs."""
    cfg = tiny.make_config(work_dir, options)
    del cfg.train_cfg.max_epochs
    return cfg


@pytest.mark.parametrize('workers', [0, 2])
def test_a_training_that_counts_iterations_continues_to_the_bit(tmp_path, workers, monkeypatch):
    # Its loop keeps the workers until the garbage is collected, and that waits so many seconds for each.
    monkeypatch.setattr(torch.utils.data._utils, 'MP_STATUS_CHECK_INTERVAL', 0.2)
    options = {
        'train_cfg.type': 'IterBasedTrainLoop',
        'train_cfg.max_iters': 5,
        'train_dataloader.sampler.type': 'InfiniteSampler',
        'train_dataloader.num_workers': workers,
        'default_hooks.checkpoint.by_epoch': False,
        'default_hooks.checkpoint.interval': 100,
        'param_scheduler': [],
    }
    tiny.train(counting(tmp_path / 'whole', options))
    stop(tmp_path / 'run', Terminate('train', 3), options, counting)
    latest, _ = latest_checkpoint(tmp_path / 'run')
    tiny.train(counting(tmp_path / 'run', {**options, 'load_from': str(latest), 'resume': True}))
    if not SKIPS_BATCHES:
        assert 'does not skip the batches of the 3 iterations' in tiny.log_text(tmp_path / 'run')
        return
    whole, resumed = (tiny.load(tmp_path / name / 'iter_5.pth') for name in ('whole', 'run'))
    assert_equal(whole, resumed)


def averaging(work_dir, options):
    """A config whose validations exchange the weights for their averages."""
    cfg = tiny.make_config(work_dir, options)
    cfg.custom_hooks = [dict(type='EMAHook', momentum=0.1)]
    return cfg


@pytest.mark.parametrize(('interval', 'saved'), [(1, 'epoch_1.pth'), (2, 'interrupted.pth')])
@pytest.mark.parametrize('make_config', [tiny.make_config, averaging])
def test_sigterm_in_a_validation_keeps_the_state_and_the_resumed_run_validates_first(
    tmp_path, make_config, interval, saved
):
    options = {'train_cfg.val_interval': 1, 'default_hooks.checkpoint.interval': interval}
    tiny.train(make_config(tmp_path / 'whole', options))
    with pytest.raises(SystemExit):
        tiny.train(make_config(tmp_path / 'run', options), Terminate('val', 1))
    latest, _ = latest_checkpoint(tmp_path / 'run')
    assert latest.name == saved
    seen = Validations()
    tiny.train(make_config(tmp_path / 'run', {**options, 'load_from': str(latest), 'resume': True}), seen)
    assert seen.at == [4, 8]
    whole, resumed = (tiny.load(tmp_path / name / 'epoch_2.pth') for name in ('whole', 'run'))
    assert_equal(whole, resumed)
    if make_config is averaging:
        tiny.assert_same_state(whole['ema_state_dict'], resumed['ema_state_dict'])


def test_a_run_that_is_complete_validates_again(tmp_path):
    tiny.train(tiny.make_config(tmp_path))
    seen = Validations()
    go_on(tmp_path, None, seen)
    assert seen.at == [8]


def test_gradients_that_accumulate_are_not_lost(tmp_path):
    saved = stop(tmp_path, Terminate('train', 3), {'optim_wrapper.accumulative_counts': 2})
    assert saved['meta']['iter'] == 4


def test_checkpoints_counted_in_iterations_continue_within_the_epoch(tmp_path, whole):
    options = {'default_hooks.checkpoint.by_epoch': False, 'default_hooks.checkpoint.interval': 3}
    tiny.train(tiny.make_config(tmp_path, {**options, 'train_dataloader.num_workers': 2}))
    (tmp_path / 'iter_6.pth').unlink()
    (tmp_path / 'last_checkpoint').write_text('iter_3.pth')
    go_on(tmp_path, {**options, 'train_dataloader.num_workers': 2})
    resumed = tiny.load(tmp_path / 'iter_6.pth')
    assert tiny.history(resumed, 'loss') == tiny.history(whole[2], 'loss')[:6]
    assert (resumed['meta']['epoch'], resumed['meta']['iter']) == (1, 6)


def test_the_handler_is_the_run_s_own_and_goes_with_it(tmp_path):
    before = signal.getsignal(signal.SIGTERM)
    tiny.train(tiny.make_config(tmp_path))
    assert signal.getsignal(signal.SIGTERM) is before


def test_a_loop_that_cannot_continue_keeps_its_last_checkpoint(tmp_path, capsys):
    with pytest.raises(SystemExit):
        tiny.train(tiny.make_config(tmp_path, {'train_cfg.type': 'EpochBasedTrainLoop'}), Terminate('train', 6))
    assert 'the last checkpoint stays, as EpochBasedTrainLoop continues only between epochs' in capsys.readouterr().err
    assert [path.name for path in tmp_path.glob('*.pth')] == ['epoch_1.pth']
