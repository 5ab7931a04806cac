"""KD: its terms against an independent computation, a teacher that is trained, fits and stays as it is."""

import re
from copy import deepcopy
from unittest.mock import patch

import pytest
import tiny
import torch
from mmengine.registry import init_default_scope
from mmengine.runner import load_checkpoint
from mmpretrain.registry import MODELS
from small_classifiers import (
    NETWORKS,
    RESNET,
    assert_baseline,
    assert_terms,
    build,
    config,
    cross_entropy,
    image_size,
    kd,
    labels_of,
    reached,
    trained,
)

from mixskd_mm.errors import InputError

WRN = NETWORKS['WRN']


@pytest.fixture(scope='module')
def checkpoint(tmp_path_factory):
    """Function: file of a small classifier that has seen data: its running statistics differ from a batch's."""
    folder = tmp_path_factory.mktemp('teachers')

    def save(backbone=WRN, num_classes=10, method='ImageClassifier', **kwargs):
        model = build(method, backbone, num_classes, seed=7, **kwargs).float()
        for name, buffer in model.named_buffers():
            if 'running' in name:
                buffer.uniform_(0.5, 1.5)
        path = folder / f'{backbone["type"]}{num_classes}{method}.pth'
        torch.save(dict(state_dict=model.state_dict()), path)
        return str(path)

    return save


def student(checkpoint, backbone=RESNET, teacher_backbone=WRN, **kwargs):
    teacher = config('ImageClassifier', teacher_backbone)
    path = checkpoint(teacher_backbone)
    return build('KDClassifier', backbone, teacher=teacher, teacher_checkpoint=path, **kwargs)


def logits(model, images):
    """z of a network, by its parts."""
    return model.head.fc(model.backbone(images)[-1].mean((2, 3)))


@pytest.fixture
def batch(make_batch):
    return make_batch(4, dtype=torch.float64)


@pytest.mark.parametrize('backbone', NETWORKS.values(), ids=NETWORKS)
def test_terms_and_gradients_equal_an_independent_computation(backbone, checkpoint, make_batch):
    model = student(checkpoint, backbone, temperature=3.0, ce_weight=0.3, kd_weight=0.7)
    images, samples = make_batch(4, size=image_size(backbone), dtype=torch.float64)
    losses = model.loss(images, samples)
    z = logits(model, images)
    expected = dict(
        loss_cls=0.3 * cross_entropy(z, labels_of(samples)), loss_kd=0.7 * kd(z, logits(model.teacher, images), 3)
    )
    assert_terms(model, losses, expected)


def test_the_teacher_is_the_trained_network_in_evaluation_mode(checkpoint, batch):
    model = student(checkpoint)
    reference = build('ImageClassifier', WRN, seed=1).eval()
    load_checkpoint(reference, checkpoint(WRN))
    torch.testing.assert_close(model.teacher(batch[0]), logits(reference, batch[0]))


def test_both_terms_teach_the_whole_student_and_nothing_else(checkpoint, batch):
    model = student(checkpoint)
    names = {name for name in trained(model) if not name.startswith('teacher.')}
    assert trained(model).keys() == names
    for loss in model.loss(*batch).values():
        assert reached(loss, model) == names


def test_training_leaves_the_teacher_as_it_is(checkpoint, make_batch):
    model = student(checkpoint)
    before = deepcopy(model.teacher.state_dict())
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9, weight_decay=0.1)
    for seed in range(2):
        model.train()
        optimizer.zero_grad()
        sum(model.loss(*make_batch(4, seed=seed, dtype=torch.float64)).values()).backward()
        optimizer.step()
    assert not any(module.training for module in model.teacher.modules())
    tiny.assert_same_state(dict(before), dict(model.teacher.state_dict()))


def test_without_kd_the_baseline_is_left(batch):
    assert_baseline(build('KDClassifier', kd_weight=0), batch)


def test_without_cross_entropy_the_teacher_alone_is_left(checkpoint, batch):
    assert student(checkpoint, ce_weight=0).loss(*batch).keys() == {'loss_kd'}


def test_another_loss_takes_the_place_of_kd(checkpoint, batch):
    model = student(checkpoint, kd_loss=dict(type='KDLoss', temperature=1.0))
    reference = student(checkpoint, temperature=1.0)
    assert torch.equal(model.loss(*batch)['loss_kd'], reference.loss(*batch)['loss_kd'])


@pytest.mark.parametrize('method', ['FRSKDClassifier', 'ImageClassifier'])
def test_any_method_teaches_with_what_it_predicts_with(method, checkpoint):
    path = checkpoint(RESNET, method=method)
    model = build('KDClassifier', WRN, teacher=config(method, RESNET), teacher_checkpoint=path)
    assert {name.split('.')[0] for name in model.teacher.state_dict()} == {'backbone', 'head'}
    model.teacher.check()
    weights = torch.load(path)['state_dict']
    for name, value in model.teacher.state_dict().items():
        assert torch.equal(value.to(weights[name]), weights[name]), name


CONFIG = """
model = dict(
    type='ImageClassifier',
    backbone=dict(type='WideResNet_CIFAR', depth=16, widen_factor=1),
    neck=dict(type='GlobalAveragePooling'),
    head=dict(type='LinearClsHead', num_classes=10, in_channels=64),
)
data_preprocessor = dict(mean=[1.0, 2.0, 3.0], std=[4.0, 5.0, 6.0], to_rgb=False)
"""


@pytest.fixture
def file(tmp_path):
    path = tmp_path / 'teacher.py'
    path.write_text(CONFIG)
    return str(path)


def test_a_config_file_describes_the_teacher(file, checkpoint):
    here = dict(mean=[1, 2, 3], std=[4, 5, 6])
    path = checkpoint(WRN)
    model = build('KDClassifier', teacher=file, teacher_checkpoint=path, data_preprocessor=dict(here))
    model.teacher.check()
    assert type(model.teacher.backbone).__name__ == 'WideResNet_CIFAR'


def refused(**kwargs):
    """The line with which a KDClassifier is refused."""
    with pytest.raises(InputError) as error:
        build('KDClassifier', **kwargs)
    message = str(error.value)
    assert message.startswith('KDClassifier teacher') and len(message.splitlines()) == 1
    return message


def test_a_teacher_of_other_normalisation_is_refused(file):
    there = "{'to_rgb': False, 'mean': [1.0, 2.0, 3.0], 'std': [4.0, 5.0, 6.0]}"
    for here, expected in (
        (dict(mean=[1, 2, 3], std=[4, 5, 7]), "{'to_rgb': False, 'mean': [1.0, 2.0, 3.0], 'std': [4.0, 5.0, 7.0]}"),
        (
            dict(mean=[1, 2, 3], std=[4, 5, 6], to_rgb=True),
            "{'to_rgb': True, 'mean': [1.0, 2.0, 3.0], 'std': [4.0, 5.0, 6.0]}",
        ),
        (dict(), "{'to_rgb': False, 'mean': None, 'std': None}"),
    ):
        assert refused(teacher=file, teacher_checkpoint='file', data_preprocessor=here) == (
            f'KDClassifier teacher.data_preprocessor has {there}: expected {expected}, as data_preprocessor'
        )


def test_what_is_no_teacher_is_refused(tmp_path):
    def line(teacher):
        return refused(teacher=teacher, teacher_checkpoint='file')

    assert refused(teacher=config('ImageClassifier')) == (
        'KDClassifier teacher_checkpoint=None: expected that of a trained teacher'
    )
    assert line(None) == 'KDClassifier teacher=None: expected the config of a model, or the path of a config file'
    assert line(config('ImageClassifier', num_classes=11)) == (
        'KDClassifier teacher.head.num_classes=11: expected 10, as head.num_classes'
    )
    for model in (RESNET, dict(type='ImageClassifier', backbone=RESNET)):
        assert line(model) == f'KDClassifier teacher is a {model["type"]}: expected an ImageClassifier with a head'
    assert line('missing.py') == (
        "KDClassifier teacher='missing.py': expected the path of a config file (FileNotFoundError)"
    )
    empty = tmp_path / 'empty.py'
    empty.write_text('a = 1')
    assert line(str(empty)) == f'KDClassifier teacher={str(empty)!r} has no model: expected the config of a classifier'


def test_a_teacher_without_trained_weights_is_refused(checkpoint, make_batch):
    def line(path, initialise=True):
        model = MODELS.build(config('KDClassifier', teacher=config('ImageClassifier', WRN), teacher_checkpoint=path))
        if initialise:
            model.init_weights()
        with pytest.raises(InputError) as before:
            model.check_loader(None)
        with pytest.raises(InputError) as first:
            model.loss(*make_batch(4))
        assert str(before.value) == str(first.value)
        return str(before.value)

    lacks = 'teacher_checkpoint gives no trained teacher: checkpoint'
    assert line('gone.pth') == f'{lacks} gone.pth does not exist'
    assert line('file', initialise=False) == f'{lacks} file was not loaded: expected a call of init_weights()'
    other = checkpoint(RESNET)
    assert re.match(f'{lacks} {other} lacks .* tensors that FrozenTeacher expects', line(other))
    eleven = checkpoint(WRN, num_classes=11)
    assert re.match(f'{lacks} {eleven} has 2 of another shape .first: head.fc.weight, .11, 64. instead', line(eleven))


def test_a_checkpoint_of_the_student_brings_its_teacher(checkpoint):
    trained = student(checkpoint)
    model = MODELS.build(config('KDClassifier', teacher=config('ImageClassifier', WRN), teacher_checkpoint='gone.pth'))
    model.init_weights()
    state = trained.state_dict()
    model.load_state_dict(
        {name: value for name, value in state.items() if name != 'teacher.head.fc.bias'}, strict=False
    )
    with pytest.raises(InputError):
        model.check_loader(None)
    model.load_state_dict(state)
    model.check_loader(None)


def test_a_teacher_that_is_exchanged_is_said(checkpoint):
    model, other = student(checkpoint), student(checkpoint).state_dict()
    with patch('mixskd_mm.models.teacher.print_log') as said:
        model.load_state_dict(other)
        assert not said.called
        other['teacher.head.fc.bias'] += 1
        model.load_state_dict(other)
    path = checkpoint(WRN)
    assert said.call_args.args == (f'The teacher is that of the checkpoint being loaded, in the place of {path}',)
    assert torch.equal(model.teacher.head.fc.bias, other['teacher.head.fc.bias'])


@pytest.mark.parametrize('other', [dict(WRN, depth=22), dict(WRN, depth=10)])
def test_a_teacher_that_is_another_network_does_not_exchange_what_fits(other, checkpoint, tmp_path):
    path = checkpoint(WRN)
    model = student(checkpoint)
    model.float().init_weights()
    found = build('KDClassifier', teacher=config('ImageClassifier', other), teacher_checkpoint='x').float().state_dict()
    torch.save(dict(state_dict=found), tmp_path / 'other.pth')
    with patch('mixskd_mm.models.teacher.print_log') as said:
        load_checkpoint(model, str(tmp_path / 'other.pth'))
    assert said.call_args.args == (
        f'The teacher of the checkpoint being loaded is another network: left out for {path}',
    )
    expected = torch.load(path, weights_only=True)['state_dict']
    assert all(torch.equal(value, expected[name]) for name, value in model.teacher.state_dict().items())
    assert torch.equal(model.head.fc.bias, found['head.fc.bias'])
    model.check_loader(None)


@pytest.fixture
def run(checkpoint, tmp_path):
    """Function: config of a tiny training from the teacher in a file; options are added."""

    def make(name, path, **options):
        cfg = tiny.make_config(tmp_path / name, method='baseline')
        cfg.model.type, cfg.model.teacher, cfg.model.teacher_checkpoint = 'KDClassifier', deepcopy(cfg.model), path
        cfg.merge_from_dict(options)
        return cfg

    return make


def test_training_without_the_teachers_file_ends_before_the_first_iteration(run, tmp_path):
    with pytest.raises(InputError, match=r'^teacher_checkpoint gives no trained teacher: checkpoint gone.pth'):
        tiny.train(run('one', 'gone.pth'))
    assert not tiny.scalars(tmp_path / 'one')


def test_a_training_resumes_without_the_teachers_file(run, tmp_path):
    path = tmp_path / 'teacher.pth'
    init_default_scope('mmpretrain')
    trained = MODELS.build(run('none', str(path)).model.teacher)
    trained.init_weights()
    torch.save(trained.state_dict(), path)
    expected = tiny.train(run('whole', str(path))).model.state_dict()
    path.unlink()
    cfg = run('rest', str(path), resume=True, load_from=str(tmp_path / 'whole' / 'epoch_1.pth'))
    resumed = tiny.train(cfg).model.state_dict()
    tiny.assert_same_state(dict(expected), dict(resumed))
    weights = trained.state_dict()
    tiny.assert_same_state(dict(weights), {name: resumed[f'teacher.{name}'] for name in weights})
