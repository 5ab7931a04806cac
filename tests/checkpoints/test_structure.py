"""What a checkpoint has to be made of to continue a training."""

import copy

import pytest
import tiny

from mixskd_mm.checkpoints.structure import check_classes, check_training_state
from mixskd_mm.errors import InputError


@pytest.fixture(scope='module')
def trained(tmp_path_factory):
    work_dir = tmp_path_factory.mktemp('trained')
    tiny.train(tiny.make_config(work_dir, {'train_cfg.max_epochs': 1}))
    return tiny.load(work_dir / 'epoch_1.pth')


def changed(checkpoint, path, value):
    checkpoint = copy.deepcopy(checkpoint)
    *parents, last = path.split('.')
    part = checkpoint
    for name in parents:
        part = part[name]
    if value is None:
        del part[last]
    else:
        part[last] = value
    return checkpoint


def test_what_a_training_writes_passes(trained):
    check_classes(trained, 'a.pth')
    check_training_state(trained, 'a.pth')


@pytest.mark.parametrize(
    ('path', 'value', 'told'),
    [
        ('meta', [1], "meta is '[1]': expected a dict"),
        ('meta.epoch', -1, "meta.epoch is '-1': expected a number >= 0"),
        ('meta.iter', 'abc', "meta.iter is 'abc': expected a number >= 0"),
        ('meta.iter', None, 'meta.iter is missing: expected a number >= 0'),
        ('meta.seed', 'x', "meta.seed is 'x': expected an integer"),
        ('meta.cfg', 3, "meta.cfg is '3': expected the text of a config"),
        ('message_hub', 'x', "message_hub is 'x': expected a dict"),
        ('message_hub.log_scalars', None, 'message_hub.log_scalars is missing: expected a dict'),
        ('optimizer', {}, "optimizer is '{}': expected the state of an optimiser"),
        ('optimizer', dict(param_groups=3, state={}), 'expected the state of an optimiser'),
        ('param_schedulers', [{}], "param_schedulers is '[{}]': expected the states of schedulers"),
        ('random_states', 'x', "random_states is 'x': expected a list of dicts"),
    ],
)
def test_a_part_of_another_kind_is_named(trained, path, value, told):
    with pytest.raises(InputError) as error:
        check_training_state(changed(trained, path, value), 'a.pth')
    assert str(error.value).startswith('a.pth: ') and told in str(error.value)


def test_several_optimisers_have_a_state_each(trained):
    one = trained['optimizer']
    check_training_state(dict(trained, optimizer=dict(a=one, b=one), param_schedulers=dict(a=[], b=[])), 'a.pth')


def test_parts_that_are_missing_are_named_together(trained):
    state = {name: value for name, value in trained.items() if name not in ('optimizer', 'message_hub')}
    with pytest.raises(InputError, match=r'^a\.pth has no message_hub, optimizer: expected one that training wrote'):
        check_training_state(state, 'a.pth')


@pytest.mark.parametrize('classes', [3, [1, 2]])
def test_classes_are_names(classes):
    with pytest.raises(InputError, match=r'^a\.pth: meta\.dataset_meta\.classes is .*: expected a list of names$'):
        check_classes(dict(meta=dict(dataset_meta=dict(classes=classes))), 'a.pth')
    check_classes({}, 'a.pth')
