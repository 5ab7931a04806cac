import pytest
import tiny
from mmengine.config import Config

from mixskd_mm.errors import InputError
from mixskd_mm.settings.keys import check_keys, check_new_keys, is_read, top_level_keys


def message(text):
    with pytest.raises(InputError) as error:
        list(check_keys(Config.fromstring(text, '.py')))
    return str(error.value)


@pytest.mark.parametrize(
    ('text', 'expected'),
    [
        ('modle = dict(a=1)', "modle={'a': 1}: no such setting: expected model"),
        ('optimwrapper = 3', 'optimwrapper=3: no such setting: expected optim_wrapper'),
        ('train_dataloder = 3', 'train_dataloder=3: no such setting: expected train_dataloader'),
        (
            "model = dict(backbone=dict(type='ResNet', dept=18))",
            'model.backbone.dept=18: no such setting: expected model.backbone.depth',
        ),
        (
            'model = dict(test_cfg=dict(rpn=dict(mn_bbox_size=0)))',
            'model.test_cfg.rpn.mn_bbox_size=0: no such setting: expected model.test_cfg.rpn.min_bbox_size',
        ),
        (
            "train_dataloader = dict(smpler=dict(type='DefaultSampler'))",
            "train_dataloader.smpler={'type': 'DefaultSampler'}: no such setting: expected train_dataloader.sampler",
        ),
    ],
)
def test_a_key_that_nothing_reads_is_refused_with_the_nearest_real_one(text, expected):
    assert message(text) == expected


def test_what_the_lines_of_a_config_use_is_a_variable():
    used = Config.fromstring("modell = 'ResNet'\nmodel = dict(type=modell)", '.py')
    assert list(check_keys(used)) == []


def test_a_variable_that_nothing_uses_is_said():
    unused = Config.fromstring('_base_ = []\nmy_note = 3', '.py')
    assert list(check_keys(unused)) == ['my_note=3: nothing reads this setting']


def test_names_that_the_user_gives_are_no_settings():
    text = "optim_wrapper = dict(paramwise_cfg=dict(custom_keys={'my.own.layer': dict(lr_mult=0.1)}))"
    assert list(check_keys(Config.fromstring(text, '.py'))) == []


def test_the_settings_of_the_runner_are_known():
    assert {'model', 'train_dataloader', 'resume', 'find_unused_parameters', 'compile'} <= set(top_level_keys())


def test_words_of_all_libraries_count_whether_they_are_loaded_or_not():
    assert is_read('cat_max_ratio') and is_read('persistent_workers') and is_read('nesterov')
    assert not is_read('persistent_wrokers')


def test_an_option_sets_nothing_that_does_not_exist():
    check_new_keys(dict(mine=1), {'mine': 2, 'model.a': 3, 'compile': True})
    with pytest.raises(InputError, match=r'modle.temperature=3: no such setting: expected model.temperature$'):
        check_new_keys(dict(model={}), {'modle.temperature': 3})


def test_a_config_that_mmengine_has_written_passes_without_a_word():
    written = Config.fromfile(tiny.ROOT / 'configs/cifar100/mixskd_r18_cifar100.py').pretty_text
    assert 'test_pipeline = ' in written
    assert list(check_keys(Config.fromstring(written, '.py'))) == []
