import sys

import pytest
import tiny
from mmengine.config import Config

from mixskd_mm.errors import InputError
from mixskd_mm.settings import check_complete, check_settings

sys.path.append(str(tiny.ROOT / 'tools/soak'))
import changed_settings


def check(**options):
    config = changed_settings.read_recipe('classification')
    cfg = Config(config)
    cfg.merge_from_dict({key.replace('__', '.'): value for key, value in options.items()})
    notices = check_settings(cfg)
    check_complete(cfg)
    return notices


@pytest.mark.parametrize('recipe', changed_settings.RECIPES)
def test_a_recipe_passes_without_a_word(recipe):
    cfg = Config.fromfile(changed_settings.ROOT / changed_settings.RECIPES[recipe])
    assert check_settings(cfg) == []


@pytest.mark.parametrize(
    ('options', 'expected'),
    [
        (dict(train_dataloader__sampler=None), 'train_dataloader.sampler=None: expected a dict with a type'),
        (dict(val_evaluator=[]), 'val_evaluator=[]: expected settings, since val_dataloader is given'),
        (
            dict(param_scheduler=[dict(type='CosineAnnealingLR', T_max=60, eta_min=5)]),
            'param_scheduler.0.eta_min=5: expected at most optim_wrapper.optimizer.lr=0.1',
        ),
        (dict(optim_wrapper=7), 'optim_wrapper=7: expected a dict of settings'),
        (
            dict(optim_wrapper__clip_grad=7),
            'optim_wrapper.clip_grad=7: expected a dict such as dict(max_norm=5.0), or None',
        ),
        (dict(default_hooks=None), 'default_hooks=None: expected a dict of settings'),
        (dict(default_hooks__logger=[]), 'default_hooks.logger=[]: expected a dict with a type'),
        (
            dict(default_hooks__chekpoint=dict(type='CheckpointHook')),
            "default_hooks.chekpoint={'type': 'CheckpointHook'}: no such setting: expected default_hooks.checkpoint",
        ),
        (dict(resume='nosuch.pth'), "resume='nosuch.pth': expected True or False; load_from names the checkpoint"),
        (
            dict(train_dataloader__persistent_workers=True),
            'train_dataloader.persistent_workers=True: expected train_dataloader.num_workers > 0 with it',
        ),
        (
            dict(train_dataloader__dataset__pipeline=[]),
            'train_dataloader.dataset.pipeline=[]: expected a list of ',
        ),
        (dict(train_dataloader__dataset__data_root=7.5), 'train_dataloader.dataset.data_root=7.5: expected text'),
        (dict(model__type=None), 'model.type=None: expected the name of a registered class'),
        (
            dict(log_processor=dict(_scope_='mmpretrain', window_size=10)),
            'log_processor.type is missing: expected the name of a registered class',
        ),
        (
            dict(model__data_preprocessor__size=(64, -1)),
            'model.data_preprocessor.size=(64, -1): expected a number above 0',
        ),
        (
            dict(train_dataloader__collate_fn__type='default_colate'),
            "train_dataloader.collate_fn.type='default_colate': expected the name of a registered class, such as "
            'default_collate',
        ),
        (dict(model__backbone__strides=(1, dict(a=1))), "model.backbone.strides=(1, {'a': 1}): expected "),
    ],
)
def test_a_setting_that_cannot_work_is_named(options, expected):
    with pytest.raises(InputError) as error:
        check(**options)
    assert str(error.value).startswith(expected)


def test_what_breaks_a_promise_of_the_recipe_is_said():
    assert check(default_hooks__finite_checkpoint=None) == [
        'default_hooks.finite_checkpoint=None: what this hook does is switched off'
    ]
    assert check(param_scheduler=[]) == ['param_scheduler=[]: the learning rate stays as it is']
    assert check(visualizer__vis_backends=[]) == ['visualizer.vis_backends=[]: nothing writes what is logged']


# Of kinds that need nothing to be built.
STATIC = ('misspelt', 'none', 'promise')


@pytest.mark.parametrize('recipe', changed_settings.RECIPES)
def test_changed_settings_are_not_accepted_silently(recipe):
    config = changed_settings.read_recipe(recipe)
    changes = [
        one for one in changed_settings.changes(seed=1, count=100) if one.recipe == recipe and one.kind in STATIC
    ]
    assert len(changes) > 5
    for change in changes:
        try:
            cfg = Config(changed_settings.apply(config, change))
            notices = check_settings(cfg)
            check_complete(cfg)
        except InputError as error:
            notices = [str(error)]
        # Else the part that it belongs to refuses it when it is built.
        assert notices or 'model' in change.path, str(change)


def test_changes_are_the_same_for_the_same_seed():
    one, other, third = (list(map(str, changed_settings.changes(seed, 50))) for seed in (0, 0, 1))
    assert one == other != third and len(set(one)) == 50
