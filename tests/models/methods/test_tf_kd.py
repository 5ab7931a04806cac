"""Tf-KD: both of its losses against an independent computation, and the copy that teaches."""

import math
from copy import deepcopy

import golden
import pytest
import tiny
import torch
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


@pytest.fixture(scope='module')
def checkpoint(tmp_path_factory):
    """Function: file of a small classifier that was trained before."""
    folder = tmp_path_factory.mktemp('teachers')

    def save(backbone):
        model = build('ImageClassifier', backbone, seed=7).float()
        for name, buffer in model.named_buffers():
            if 'running' in name:
                buffer.uniform_(0.5, 1.5)
        path = folder / f'{backbone["type"]}.pth'
        torch.save(dict(state_dict=model.state_dict()), path)
        return str(path)

    return save


def logits(model, images):
    """z of a network, by its parts."""
    return model.head.fc(model.backbone(images)[-1].mean((2, 3)))


@pytest.fixture
def batch(make_batch):
    return make_batch(4, dtype=torch.float64)


@pytest.mark.parametrize('backbone', NETWORKS.values(), ids=NETWORKS)
def test_virtual_teacher_equals_an_independent_computation(backbone, make_batch):
    model = build('TfKDClassifier', backbone, alpha=0.3, temperature=2.0)
    images, samples = make_batch(4, size=image_size(backbone), dtype=torch.float64)
    labels = labels_of(samples)
    z = logits(model, images)
    # Eq. (8) and (9).
    at_label, elsewhere = math.exp(0.99 / 2), math.exp(0.01 / 9 / 2)
    q = torch.full((4, 10), elsewhere, dtype=torch.float64)
    q[range(4), labels] = at_label
    q /= at_label + 9 * elsewhere
    kl = (q * (q.log() - (z / 2).softmax(1).log())).sum() / 4
    losses = model.loss(images, samples)
    assert losses.keys() == {'loss_cls', 'loss_kd'}
    torch.testing.assert_close(losses['loss_cls'], 0.7 * cross_entropy(z, labels))
    # The targets are float32.
    torch.testing.assert_close(losses['loss_kd'], 0.3 * kl, rtol=1e-5, atol=0)
    assert kl > 0.01


@pytest.mark.parametrize('backbone', NETWORKS.values(), ids=NETWORKS)
def test_trained_teacher_equals_an_independent_computation(backbone, checkpoint, make_batch):
    model = build('TfKDClassifier', backbone, teacher_checkpoint=checkpoint(backbone), multiplier=4)
    images, samples = make_batch(4, size=image_size(backbone), dtype=torch.float64)
    losses = model.loss(images, samples)
    z, z_t = logits(model, images), logits(model.teacher, images)
    assert not torch.allclose(z, z_t)
    # T = 6, alpha = 0.95, m / C = 0.4.
    expected = dict(loss_cls=0.05 * cross_entropy(z, labels_of(samples)), loss_kd=0.95 * 0.4 * kd(z, z_t, 6))
    assert_terms(model, losses, expected)


@pytest.mark.parametrize(
    ('settings', 'tag'),
    [
        (dict(alpha=0.1, temperature=20, multiplier=100), 'reg_tau20_alpha0.1_mult100'),
        (dict(alpha=0.95, temperature=40, multiplier=1), 'reg_tau40_alpha0.95_mult1'),
        (dict(alpha=0.95, temperature=6, multiplier=50), 'self_T6_alpha0.95_mult50'),
        (dict(alpha=0.95, temperature=20, multiplier=1), 'self_T20_alpha0.95_mult1'),
        (dict(alpha=1, ce_weight=1, kd_loss=dict(type='TemperedLabelSmoothingLoss')), 'lib_reg_total'),
    ],
)
def test_settings_of_the_original_code_and_of_the_release(settings, tag, checkpoint):
    case = golden.case('tf_kd', 'C100')
    x, values = golden.tensors(case), case['values']
    kind, _, rest = tag.partition('_')
    if kind == 'reg':
        settings = dict(settings, kd_loss=dict(temper_student=False))
    if kind == 'self':
        settings = dict(settings, teacher_checkpoint='file')
    model = MODELS.build(config('TfKDClassifier', num_classes=100, **settings))
    # The recipe's logits in the place of the networks'.
    model.classify = lambda feature: x['z']
    if kind == 'self':
        model.teacher.forward = lambda inputs: x['z_teacher']
    losses, _ = model.losses(torch.zeros(4, 3, 16, 16), x['y'], None, [])
    total = sum(losses.values())
    golden.assert_value(total, values['lib_reg']['total'] if kind == 'lib' else values[kind][rest]['total'])
    golden.assert_gradients(total, x, case['grads'][tag])


def test_defaults_are_those_of_resnet18_on_cifar100():
    virtual, trained = build('TfKDClassifier'), build('TfKDClassifier', teacher_checkpoint='file')
    assert (virtual.alpha, virtual.temperature, virtual.kd_weight) == (0.1, 20, 0.1)
    assert (trained.alpha, trained.temperature, trained.kd_weight) == (0.95, 6, 0.95)
    assert (virtual.kd_loss.temperature, trained.kd_loss.temperature) == (20, 6)
    assert virtual.kd_loss.temper_student and virtual.kd_loss.correct_prob == 0.99


def test_training_teaches_the_student_alone(checkpoint, batch):
    model = build('TfKDClassifier', teacher_checkpoint=checkpoint(RESNET))
    before = deepcopy(model.teacher.state_dict())
    names = {name for name in trained(model) if not name.startswith('teacher.')}
    assert trained(model).keys() == names
    for loss in model.train().loss(*batch).values():
        assert reached(loss, model) == names
    tiny.assert_same_state(dict(before), dict(model.teacher.state_dict()))


def test_an_equal_student_learns_from_the_labels_alone(checkpoint, batch):
    model = build('TfKDClassifier', teacher_checkpoint=checkpoint(RESNET))
    model.load_state_dict(model.teacher.state_dict(), strict=False)
    losses = model.eval().loss(*batch)
    torch.testing.assert_close(losses['loss_kd'], torch.tensor(0.0, dtype=torch.float64))
    assert losses['loss_cls'] > 0.01


@pytest.mark.parametrize('teacher_checkpoint', [None, 'gone.pth'])
def test_without_alpha_the_baseline_is_left(teacher_checkpoint, batch):
    model = build('TfKDClassifier', alpha=0, teacher_checkpoint=teacher_checkpoint)
    model.check_loader(None)
    assert_baseline(model, batch)


def test_with_alpha_1_the_cross_entropy_is_gone(batch):
    assert build('TfKDClassifier', alpha=1).loss(*batch).keys() == {'loss_kd'}


def test_wrong_input_is_refused_in_one_line():
    for settings, message in (
        (dict(alpha=1.5), 'TfKDClassifier alpha=1.5: expected a number in [0, 1]'),
        (dict(temperature=0), 'TfKDClassifier temperature=0: expected a finite number > 0'),
        (dict(multiplier=-1), 'TfKDClassifier multiplier=-1: expected a finite number >= 0'),
        (dict(ce_weight='1'), "TfKDClassifier ce_weight='1': expected a finite number >= 0"),
    ):
        with pytest.raises(InputError) as error:
            build('TfKDClassifier', **settings)
        assert str(error.value) == message
    model = build('TfKDClassifier', teacher_checkpoint='gone.pth')
    with pytest.raises(InputError) as error:
        model.check_loader(None)
    assert str(error.value) == ('teacher_checkpoint gives no trained teacher: checkpoint gone.pth does not exist')
