import pytest
from mmengine.config import Config

from mixskd_mm.errors import InputError
from mixskd_mm.resuming.schedule import check_schedule, fit_schedule

WARM_UP = dict(type='LinearLR', start_factor=1 / 500, begin=0, end=5, convert_to_iter_based=True)
COSINE = dict(type='CosineAnnealingLR', T_max=300, begin=5, end=305, convert_to_iter_based=True)
STEPS = dict(type='MultiStepLR', milestones=[100, 150], gamma=0.1)
POLY = dict(type='PolyLR', power=0.9, begin=0, end=400, by_epoch=False)


def config(*schedulers, iters_per_epoch=100, **loop):
    return Config(dict(param_scheduler=list(schedulers), train_cfg=loop, iters_per_epoch=iters_per_epoch))


@pytest.mark.parametrize(
    'cfg',
    [
        config(WARM_UP, COSINE, max_epochs=305),
        config(dict(type='CosineAnnealingLR', T_max=90), max_epochs=90),
        config(WARM_UP, STEPS, max_epochs=205),
        config(WARM_UP, STEPS, max_epochs=150),
        config(dict(type='StepLR', step_size=30), max_epochs=7),
        config(POLY, max_iters=400),
        config(dict(POLY, end=401), max_iters=400),
        config(POLY, max_epochs=3),
        config(dict(type='LinearLR', start_factor=0.1, end=500, by_epoch=False), dict(STEPS, end=200), max_epochs=200),
        Config(dict(train_cfg=None)),
        Config(dict(train_cfg=dict(max_epochs=3), param_scheduler=None)),
        Config(dict(train_cfg=dict(max_epochs=90), param_scheduler=dict(type='CosineAnnealingLR', T_max=90))),
    ],
)
def test_a_schedule_that_ends_with_the_training_passes(cfg):
    check_schedule(cfg)


@pytest.mark.parametrize(
    ('cfg', 'before', 'message'),
    [
        (
            config(WARM_UP, COSINE, max_epochs=100),
            305,
            'CosineAnnealingLR ends after 305 epochs, the training after 100',
        ),
        (
            config(WARM_UP, COSINE, max_epochs=400),
            305,
            'CosineAnnealingLR ends after 305 epochs, the training after 400',
        ),
        (config(WARM_UP, COSINE, max_epochs=3), 305, 'LinearLR ends after 5 epochs, the training after 3'),
        (config(dict(type='CosineAnnealingLR', T_max=90), max_epochs=9), 90, 'CosineAnnealingLR ends after 90 epochs'),
        (config(STEPS, max_epochs=149), 205, 'MultiStepLR ends after 150 epochs, the training after 149'),
        (config(POLY, max_iters=800), 400, 'PolyLR ends after 400 iterations, the training after 800'),
        (config(POLY, max_iters=200), 400, 'PolyLR ends after 400 iterations, the training after 200'),
    ],
)
def test_another_length_is_refused_and_can_be_scaled(cfg, before, message):
    expected = rf'^param_scheduler: {message}.*: expected the same; --scale-schedule makes the schedule fit$'
    with pytest.raises(InputError, match=expected):
        check_schedule(cfg)
    (key,) = cfg.train_cfg
    fit_schedule(cfg, config(**{key: before}))
    check_schedule(cfg)


def test_the_whole_schedule_is_scaled():
    cfg = config(WARM_UP, COSINE, max_epochs=61)
    fit_schedule(cfg, config(max_epochs=305))
    warm_up, cosine = cfg.param_scheduler
    assert (warm_up.end, cosine.begin, cosine.end, cosine.T_max) == (1, 1, 61, 60)
    # One epoch of 100 iterations, whose first has a hundredth.
    assert warm_up.start_factor == 1 / 100
    cfg = config(WARM_UP, STEPS, max_epochs=410)
    fit_schedule(cfg, config(max_epochs=205))
    assert cfg.param_scheduler[1].milestones == [200, 300]


def test_the_same_length_changes_nothing():
    cfg = config(WARM_UP, STEPS, max_epochs=205)
    before = cfg.to_dict()
    fit_schedule(cfg, config(max_epochs=205))
    assert cfg.to_dict() == before


@pytest.mark.parametrize(('loop', 'before'), [({}, dict(max_epochs=3)), (dict(max_iters=3), dict(max_epochs=3))])
def test_trainings_that_cannot_be_compared_are_said(loop, before):
    with pytest.raises(InputError, match=r'^--scale-schedule: expected train_cfg\.max_epochs, or'):
        fit_schedule(config(**loop), config(**before))
