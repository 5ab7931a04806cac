"""Resuming with other settings: refused, applied after a reset, or said."""

import math
from types import SimpleNamespace

import pytest
import tiny
import torch
from mmengine.config import Config

from mixskd_mm.engine import ResumeCheckHook
from mixskd_mm.errors import InputError


def cosine_over(epochs):
    return [dict(type='CosineAnnealingLR', T_max=epochs, by_epoch=True, convert_to_iter_based=True)]


@pytest.fixture(scope='module')
def half(tmp_path_factory):
    """Two epochs of four iterations under a cosine over four epochs, with learning rate 0.05."""
    work_dir = tmp_path_factory.mktemp('half')
    tiny.train(tiny.make_config(work_dir, {'param_scheduler': cosine_over(4)}))
    return work_dir / 'epoch_2.pth'


def resume(checkpoint, tmp_path, reset=(), options=None, changes=None):
    options = {'param_scheduler': cosine_over(4), 'train_cfg.max_epochs': 4, **(options or {})}
    cfg = tiny.make_config(tmp_path / 'run', {'load_from': str(checkpoint), 'resume': True, **options})
    cfg.default_hooks.resume_check.reset = list(reset)
    (changes or (lambda cfg: None))(cfg)
    return tiny.train(cfg)


def cosine(lr, iteration, iterations):
    """The closed form."""
    return lr * (1 + math.cos(math.pi * iteration / iterations)) / 2


@pytest.mark.parametrize(
    ('options', 'told'),
    [
        (
            {'optim_wrapper.optimizer.lr': 0.01},
            'optim_wrapper.optimizer.lr=0.05, not 0.01: expected the same, or --reset ',
        ),
        (
            {'optim_wrapper.optimizer.momentum': 0.5},
            'optim_wrapper.optimizer.momentum=0.9, not 0.5: expected the same, or',
        ),
        (
            {'auto_scale_lr.enable': True},
            'auto_scale_lr.enable=nothing, not True: expected the same, or --reset optim_wr',
        ),
        (
            {'param_scheduler': cosine_over(8)},
            'param_scheduler.0.T_max=4, not 8: expected the same, or --reset param_scheduler',
        ),
        (
            {'train_dataloader.batch_size': 20},
            'train_dataloader.batch_size=10, not 20: expected the same, or --reset para',
        ),
        ({'randomness.seed': 1}, 'randomness.seed=0, not 1: expected the same'),
    ],
)
def test_what_resuming_would_not_apply_is_refused(half, tmp_path, options, told):
    with pytest.raises(InputError) as error:
        resume(half, tmp_path, options=options)
    assert str(error.value).startswith(f'checkpoint {half} was trained with {told}')
    assert list((tmp_path / 'run').glob('*.pth')) == []


def test_more_images_are_refused_too(half, tmp_path):
    def fewer(cfg):
        cfg.train_dataloader.dataset = dict(
            type='mmpretrain.KFoldDataset', dataset=cfg.train_dataloader.dataset, num_splits=2
        )

    with pytest.raises(InputError, match='was trained with 4 iterations per epoch, not 2: expected the same batch'):
        resume(half, tmp_path, changes=fewer)


def test_a_reset_learning_rate_is_used_from_where_the_schedule_is(half, tmp_path):
    runner = resume(half, tmp_path, ['optim_wrapper'], {'optim_wrapper.optimizer.lr': 0.01})
    lrs = tiny.histories(runner.message_hub)['train/lr']
    assert lrs[:8] == pytest.approx([cosine(0.05, i, 16) for i in range(8)])
    assert lrs[8:] == pytest.approx([cosine(0.01, i, 16) for i in range(8, 16)])
    state = tiny.load(tmp_path / 'run/epoch_4.pth')
    assert state['optimizer']['param_groups'][0]['initial_lr'] == 0.01
    assert any('momentum_buffer' in buffers for buffers in state['optimizer']['state'].values())


def test_a_reset_schedule_goes_on_at_its_own_place(half, tmp_path):
    runner = resume(half, tmp_path, ['param_scheduler'], {'param_scheduler': cosine_over(3), 'train_cfg.max_epochs': 3})
    lrs = tiny.histories(runner.message_hub)['train/lr']
    assert lrs[8:] == pytest.approx([cosine(0.05, i, 12) for i in range(8, 12)])


def test_another_batch_counts_its_own_iterations_after_a_reset(half, tmp_path):
    runner = resume(half, tmp_path, ['param_scheduler'], {'train_dataloader.batch_size': 20})
    # Two epochs of 4 iterations, then two of 2; the cosine has 2 per epoch.
    assert (runner.epoch, runner.iter) == (4, 8)
    lrs = tiny.histories(runner.message_hub)['train/lr']
    assert lrs[8:] == pytest.approx([cosine(0.05, i, 8) for i in range(4, 8)])


def test_a_schedule_that_the_config_does_not_end_goes_on_in_a_longer_training(half, tmp_path):
    lrs = tiny.histories(resume(half, tmp_path).message_hub)['train/lr']
    assert lrs == pytest.approx([cosine(0.05, i, 16) for i in range(16)])


def test_a_reset_without_changes_changes_nothing(half, tmp_path):
    plain = resume(half, tmp_path / 'plain')
    reset = resume(half, tmp_path / 'reset', ['optim_wrapper', 'param_scheduler'])
    expected, found = (tiny.histories(runner.message_hub)['train/lr'] for runner in (plain, reset))
    assert found == pytest.approx(expected)


def test_what_applies_is_said(half, tmp_path):
    runner = resume(half, tmp_path, options={'model.temperature': 5.0, 'train_dataloader.num_workers': 1})
    assert runner.model.temperature == 5.0
    (line,) = [
        line for line in tiny.log_text(tmp_path / 'run').splitlines() if 'was trained with other settings' in line
    ]
    assert line.endswith('from now on: model.temperature=nothing (now 5.0)')


def test_the_same_settings_are_not_mentioned(half, tmp_path):
    resume(half, tmp_path)
    assert 'was trained with' not in tiny.log_text(tmp_path / 'run')


def test_that_settings_cannot_be_compared_is_said(half, tmp_path):
    checkpoint = tiny.load(half)
    del checkpoint['meta']['cfg']
    torch.save(checkpoint, tmp_path / 'half.pth')
    resume(tmp_path / 'half.pth', tmp_path)
    assert 'half.pth does not say what it was trained with: settings are not compared' in tiny.log_text(
        tmp_path / 'run'
    )


class Scaled:
    """An optimiser's wrapper that scales losses, as on a GPU."""

    loss_scaler = None


@pytest.mark.parametrize(
    ('saved', 'wrapper', 'refused'), [(True, Scaled(), True), (False, Scaled(), False), (True, object(), False)]
)
def test_another_scale_of_losses_is_refused_where_the_checkpoints_would_win(saved, wrapper, refused):
    checkpoint = dict(meta=dict(cfg="optim_wrapper = dict(loss_scale='dynamic')"), optimizer={})
    if saved:
        checkpoint['optimizer']['loss_scaler'] = {}
    logger = SimpleNamespace(warning=lambda line: None)
    cfg = Config(dict(optim_wrapper=dict(loss_scale=512.0)))
    runner = SimpleNamespace(cfg=cfg, optim_wrapper=wrapper, logger=logger)
    if not refused:
        ResumeCheckHook().compare_settings(runner, checkpoint, 'a.pth')
        return
    with pytest.raises(
        InputError, match=r'optim_wrapper\.loss_scale=dynamic, not 512\.0: expected the same, or --reset'
    ):
        ResumeCheckHook().compare_settings(runner, checkpoint, 'a.pth')
    ResumeCheckHook(['optim_wrapper']).compare_settings(runner, checkpoint, 'a.pth')


def test_another_number_of_processes_is_refused(half, tmp_path):
    checkpoint = tiny.load(half)
    assert checkpoint['meta']['world_size'] == 1
    checkpoint['meta']['world_size'] = 8
    torch.save(checkpoint, tmp_path / 'eight.pth')
    with pytest.raises(
        InputError, match='was trained with number of processes=8, not 1: expected the same, or --reset'
    ):
        resume(tmp_path / 'eight.pth', tmp_path)


@pytest.fixture(scope='module')
def middle(tmp_path_factory):
    """A checkpoint after three of four iterations."""
    work_dir = tmp_path_factory.mktemp('middle')
    options = {'default_hooks.checkpoint.by_epoch': False, 'default_hooks.checkpoint.interval': 3}
    cfg = tiny.make_config(work_dir, {**options, 'train_cfg.max_epochs': 1, 'param_scheduler': cosine_over(4)})
    tiny.train(cfg)
    return work_dir / 'iter_3.pth'


def test_a_schedule_is_reset_in_the_middle_of_an_epoch_too(middle, tmp_path):
    runner = resume(
        middle, tmp_path, ['param_scheduler'], {'param_scheduler': cosine_over(3), 'train_cfg.max_epochs': 3}
    )
    lrs = tiny.histories(runner.message_hub)['train/lr']
    assert lrs[3:] == pytest.approx([cosine(0.05, i, 12) for i in range(3, 12)])


def test_the_middle_of_an_epoch_that_cannot_be_continued_is_refused(middle, tmp_path):
    where = r'iter_3\.pth was written in the middle of epoch 1, after iteration 3'
    with pytest.raises(InputError, match=f'{where}, which EpochBasedTrainLoop cannot continue: expected train_cfg'):
        resume(middle, tmp_path, options={'train_cfg.type': 'EpochBasedTrainLoop'})
    with pytest.raises(InputError, match=f'{where}, by 1 processes: expected the same batch'):
        resume(middle, tmp_path, ['param_scheduler'], {'train_dataloader.batch_size': 20})
    checkpoint = tiny.load(middle)
    del checkpoint['random_states']
    torch.save(checkpoint, tmp_path / 'iter_3.pth')
    with pytest.raises(InputError, match=f'{where}, without the states of the random numbers'):
        resume(tmp_path / 'iter_3.pth', tmp_path)


def test_only_two_sections_can_be_reset():
    with pytest.raises(InputError, match=r'^--reset model: expected some of optim_wrapper, param_scheduler$'):
        ResumeCheckHook(reset=['model'])
