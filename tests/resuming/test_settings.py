import math

from mixskd_mm.checkpoints.config_text import UNTRUSTED
from mixskd_mm.resuming.settings import describe, differences, section_to_reset

SAVED = dict(
    model=dict(type='A', temperature=3.0, layers=(1, 2), init=[], nan=math.nan),
    optim_wrapper=dict(optimizer=dict(type='SGD', lr=0.1), clip_grad=None),
    param_scheduler=[dict(type='LinearLR', end=5)],
    train_dataloader=dict(batch_size=32, num_workers=2, dataset=dict(data_root='a')),
    train_cfg=dict(max_epochs=10, val_interval=1),
    auto_scale_lr=dict(base_batch_size=32),
    randomness=dict(seed=0),
    custom_hooks=[dict(type=UNTRUSTED + 'a.B')],
    work_dir='x',
)


def changed(**sections):
    merged = {name: {**SAVED[name], **value} for name, value in sections.items() if isinstance(value, dict)}
    return {**SAVED, **sections, **merged}


def test_the_same_settings_do_not_differ():
    assert differences(SAVED, changed()) == []
    assert differences(SAVED, changed(model=dict(layers=[1, 2], init=()), custom_hooks=[dict(type='a.B')])) == []


def test_what_does_not_train_does_not_count():
    wanted = changed(
        train_dataloader=dict(num_workers=8, persistent_workers=True), train_cfg=dict(max_epochs=20, val_interval=5)
    )
    assert differences(SAVED, wanted | dict(work_dir='y', test_cfg=1, resume=True)) == []
    assert differences(SAVED, changed(auto_scale_lr=dict(base_batch_size=64))) == []


def test_what_trains_is_told_with_its_place_and_both_values():
    wanted = changed(
        model=dict(temperature=4.0, new=1), optim_wrapper=dict(optimizer=dict(type='SGD', lr=0.01)), param_scheduler=[]
    )
    assert sorted(differences(SAVED, wanted), key=str) == [
        ('model.new', 'nothing', 1),
        ('model.temperature', 3.0, 4.0),
        ('optim_wrapper.optimizer.lr', 0.1, 0.01),
        ('param_scheduler', 'nothing', []),
        ('param_scheduler.0.end', 5, 'nothing'),
        ('param_scheduler.0.type', 'LinearLR', 'nothing'),
    ]
    assert ('auto_scale_lr.enable', 'nothing', True) in differences(SAVED, changed(auto_scale_lr=dict(enable=True)))
    assert differences(SAVED, changed(randomness=dict(seed=1))) == [('randomness.seed', 0, 1)]


def test_which_section_keeps_the_old_value():
    assert section_to_reset('optim_wrapper.optimizer.lr') == 'optim_wrapper.optimizer'
    assert section_to_reset('param_scheduler.0.end') == 'param_scheduler'
    assert section_to_reset('train_dataloader.batch_size') == 'train_dataloader.batch_size'
    for path in ('optim_wrapper.clip_grad.max_norm', 'model.temperature', 'train_dataloader.batch_size_of_mine'):
        assert section_to_reset(path) is None


def test_many_changes_are_counted():
    changes = [(f'a{i}', i, i + 1) for i in range(7)]
    assert describe(changes[:2]) == 'a0=0 (now 1), a1=1 (now 2)'
    assert describe(changes).endswith('a4=4 (now 5) and 2 more')
