import json
from types import SimpleNamespace

import pytest
import tiny
import torch
from mmengine.hooks import Hook
from mmengine.logging import MessageHub

from mixskd_mm.engine import DeferredRuntimeInfoHook, deferred_log
from mixskd_mm.engine.deferred_log import keep_last, pending_to_floats
from mixskd_mm.errors import InputError
from mixskd_mm.models import MixSKDClassifier

# 4 iterations per epoch: an interval in the middle, and the rest when the epoch ends.
LOG_EVERY_3 = {
    'default_hooks.logger.interval': 3,
    'default_hooks.logger.ignore_last': False,
    'default_hooks.runtime_info.interval': 3,
    'train_cfg.val_interval': 1,
}
SAVE_EVERY_2_ITERATIONS = {'default_hooks.checkpoint.by_epoch': False, 'default_hooks.checkpoint.interval': 2}


@pytest.fixture(scope='module')
def both_runs(tmp_path_factory):
    """The same training logged by mmengine's hook and by the deferred one: (work folder, Runner) of each."""
    runs = []
    for runtime_info in ('RuntimeInfoHook', 'DeferredRuntimeInfoHook'):
        work_dir = tmp_path_factory.mktemp(runtime_info)
        cfg = tiny.make_config(work_dir, {**LOG_EVERY_3, **SAVE_EVERY_2_ITERATIONS})
        cfg.default_hooks.runtime_info.type = runtime_info
        if runtime_info == 'RuntimeInfoHook':
            del cfg.default_hooks.runtime_info['interval']
        runs.append((work_dir, tiny.train(cfg)))
    return runs


def test_every_value_of_every_iteration_is_that_of_mmengines_hook(both_runs):
    expected, deferred = (tiny.histories(runner.message_hub) for _, runner in both_runs)
    assert expected == deferred
    assert len(expected['train/loss_cls']) == 8
    assert {'train/lam', 'train/top1_f', 'train/top1_h', 'train/lr', 'train/loss_dis'} <= set(expected)


def test_scalars_json_is_that_of_mmengines_hook(both_runs):
    expected, deferred = (tiny.scalars(work_dir) for work_dir, _ in both_runs)
    assert expected == deferred
    # Iteration 3 and the last of each epoch, and each validation.
    assert [row['step'] for row in expected] == [3, 4, 1, 7, 8, 2]


def test_a_checkpoint_within_the_interval_holds_the_log_so_far(both_runs):
    for iteration in (2, 6):
        expected, deferred = (
            tiny.load(work_dir / f'iter_{iteration}.pth')['message_hub']['log_scalars'] for work_dir, _ in both_runs
        )
        assert deferred['train/lam'].data[0].tolist() == expected['train/lam'].data[0].tolist()
        assert len(deferred['train/loss'].data[0]) == iteration
        assert set(deferred) == set(expected)


class RecordPending(Hook):
    """How many iterations wait to be logged after each iteration, and how many are logged when the epoch is over."""

    def __init__(self):
        self.pending, self.logged = [], []

    def after_train_iter(self, runner, batch_idx, data_batch=None, outputs=None):
        (hook,) = (hook for hook in runner.hooks if isinstance(hook, DeferredRuntimeInfoHook))
        self.pending.append(len(hook._pending))

    def after_train_epoch(self, runner):
        self.logged.append(len(runner.message_hub.get_scalar('train/lam').data[0]))


def test_values_are_handed_over_at_the_interval_and_when_the_epoch_ends(tmp_path):
    record = RecordPending()
    tiny.train(tiny.make_config(tmp_path, LOG_EVERY_3), record)
    assert record.pending == [1, 2, 0, 0] * 2
    assert record.logged == [4, 8]


def test_the_interval_is_the_loggers_unless_given(tmp_path):
    record = RecordPending()
    options = {'default_hooks.logger.interval': 2, 'train_cfg.max_epochs': 1}
    cfg = tiny.make_config(tmp_path, options)
    cfg.default_hooks.runtime_info.pop('interval', None)
    tiny.train(cfg, record)
    assert record.pending == [1, 0, 1, 0]


@pytest.fixture
def reads(monkeypatch):
    """List that grows with each way of reading a tensor's value."""
    reads = []
    for name in ('item', 'tolist', 'cpu', 'numpy', '__float__', '__bool__', '__int__', '__array__'):
        method = getattr(torch.Tensor, name)

        def reading(self, *args, _name=name, _method=method, **kwargs):
            reads.append(_name)
            return _method(self, *args, **kwargs)

        monkeypatch.setattr(torch.Tensor, name, reading)
    return reads


def stub_runner(iterations_an_epoch=100):
    return SimpleNamespace(
        hooks=[],
        iter=0,
        epoch=0,
        max_iters=10**6,
        train_dataloader=[None] * iterations_an_epoch,
        log_processor=SimpleNamespace(custom_cfg=[], window_size=10),
        message_hub=MessageHub.get_instance('test_deferred_log'),
    )


def test_tensors_are_read_once_an_interval(reads):
    hook, runner = DeferredRuntimeInfoHook(interval=5), stub_runner()
    for batch_idx in range(10):
        runner.iter = batch_idx
        hook.after_train_iter(runner, batch_idx, outputs={'loss': torch.tensor(1.0), 'lam': torch.tensor(0.3)})
        assert len(reads) == (batch_idx + 1) // 5
    assert reads == ['tolist', 'tolist']


def test_values_keep_their_order_and_precision():
    outputs = [
        (7, {'loss': torch.tensor(0.1), 'lam': torch.tensor(0.1, dtype=torch.float64), 'extra': 3}),
        (8, {'loss': torch.tensor(0.2, dtype=torch.bfloat16), 'top1_f': torch.tensor(50)}),
    ]
    assert pending_to_floats(outputs) == [
        (7, {'loss': torch.tensor(0.1).item(), 'lam': 0.1, 'extra': 3}),
        (8, {'loss': 0.2001953125, 'top1_f': 50.0}),
    ]
    assert pending_to_floats([(1, {'loss': 2.5})]) == [(1, {'loss': 2.5})]


def spoil(monkeypatch, term, value, call):
    """Make ``term`` of MixSKD's loss ``value`` in the ``call``-th training iteration."""
    losses_and_logs, calls = MixSKDClassifier.losses, []

    def spoilt(self, *args):
        losses, logs = losses_and_logs(self, *args)
        calls.append(1)
        if len(calls) == call:
            losses[term] = losses[term] * value
        return losses, logs

    monkeypatch.setattr(MixSKDClassifier, 'losses', spoilt)


@pytest.mark.parametrize('value', [float('nan'), float('inf')])
def test_a_loss_that_is_not_finite_stops_the_run_and_is_named(tmp_path, monkeypatch, value):
    spoil(monkeypatch, 'loss_dis', value, call=6)
    with pytest.raises(InputError, match=rf'^loss_dis={value} in iteration 6: expected finite losses') as error:
        tiny.train(tiny.make_config(tmp_path, LOG_EVERY_3))
    assert len(str(error.value).splitlines()) == 1
    # Noticed at the logging interval, so that no checkpoint follows that of the first epoch.
    assert [path.name for path in tmp_path.glob('*.pth')] == ['epoch_1.pth']
    assert all(json.dumps(row['loss']) not in ('NaN', 'Infinity') for row in tiny.scalars(tmp_path) if 'loss' in row)


def test_values_that_are_changed_in_place_later_are_logged_as_they_were():
    # A compiled step may write its next outputs to the same memory.
    hook, runner = DeferredRuntimeInfoHook(interval=2), stub_runner()
    loss = torch.tensor(1.0)
    for batch_idx in range(2):
        runner.iter = batch_idx
        hook.after_train_iter(runner, batch_idx, outputs={'loss_of_test': loss})
        loss += 1
    assert runner.message_hub.get_scalar('train/loss_of_test').data[0].tolist() == [1, 2]


def test_a_single_loss_that_is_not_finite_is_named(tmp_path):
    hook, runner = DeferredRuntimeInfoHook(interval=1), stub_runner()
    with pytest.raises(InputError, match=r'^loss=nan in iteration 1:'):
        hook.after_train_iter(runner, 0, outputs={'loss': torch.tensor(float('nan'))})


def test_a_checkpoint_is_not_written_while_a_bad_loss_waits(tmp_path, monkeypatch):
    spoil(monkeypatch, 'loss_feature', float('nan'), call=2)
    options = {'default_hooks.runtime_info.interval': 100, 'default_hooks.logger.interval': 100}
    with pytest.raises(InputError, match='loss_feature=nan in iteration 2:'):
        tiny.train(tiny.make_config(tmp_path, {**options, **SAVE_EVERY_2_ITERATIONS}))
    assert list(tmp_path.glob('*.pth')) == []


def test_the_last_values_are_kept_and_a_checkpoint_does_not_grow(tmp_path, monkeypatch):
    monkeypatch.setattr(deferred_log, 'HISTORY', 5)
    whole = tiny.histories(tiny.train(tiny.make_config(tmp_path / 'whole', {'train_cfg.max_epochs': 3})).message_hub)
    tiny.train(tiny.make_config(tmp_path / 'run', {'train_cfg.max_epochs': 2}))
    hub = tiny.train(tiny.make_config(tmp_path / 'run', {'train_cfg.max_epochs': 3, 'resume': True})).message_hub
    # Of 12 iterations, as many as the log averages over.
    assert {len(values) for values in tiny.histories(hub).values()} == {10}
    assert len(whole['train/loss']) == 10
    assert tiny.histories(hub)['train/lam'] == whole['train/lam']
    assert len(tiny.load(tmp_path / 'run/epoch_3.pth')['message_hub']['log_scalars']['train/loss'].data[0]) == 10


@pytest.mark.parametrize(
    ('custom', 'window', 'batches', 'length'),
    [
        ([], 10, 4, 10_000),
        ([], 20_000, 4, 20_000),
        ([dict(data_src='loss', window_size=30_000)], 10, 4, 30_000),
        ([dict(data_src='loss', window_size='epoch')], 10, 40_000, 40_000),
        ([dict(data_src='loss', window_size='global')], 10, 4, None),
    ],
)
def test_as_many_values_are_kept_as_the_log_shows(custom, window, batches, length):
    runner = SimpleNamespace(
        log_processor=SimpleNamespace(custom_cfg=custom, window_size=window), train_dataloader=range(batches)
    )
    assert deferred_log.history_length(runner) == length


def test_all_values_are_kept_if_the_log_shows_them_all():
    hub = MessageHub.get_instance(next(tiny.names))
    for i in range(20):
        hub.update_scalar('train/loss', float(i))
    keep_last(hub, None)
    assert hub.get_scalar('train/loss').data[0].tolist() == list(range(20))
    keep_last(hub, 3)
    hub.update_scalar('train/loss', 20.0)
    assert hub.get_scalar('train/loss').data[0].tolist() == [18, 19, 20]
