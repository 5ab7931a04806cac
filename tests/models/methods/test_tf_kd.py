"""Tf-KD: both of its losses against an independent computation, and the copy that teaches."""

import math
from copy import deepcopy

import golden
import pytest
import tiny
import torch
from mmpretrain.registry import MODELS
from small_networks import NETWORKS, build, config, gradients, logits

from mixskd_mm.errors import InputError


@pytest.fixture(scope='module')
def checkpoint(tmp_path_factory):
    """Function: file of a small classifier that was trained before."""
    folder = tmp_path_factory.mktemp('teachers')

    def save(backbone):
        model = build('ImageClassifier', backbone, seed=7)
        for name, buffer in model.named_buffers():
            if 'running' in name:
                buffer.uniform_(0.5, 1.5)
        path = folder / f'{backbone["type"]}.pth'
        torch.save(dict(state_dict=model.state_dict()), path)
        return str(path)

    return save


def log_softmax(z):
    return z - z.exp().sum(1, keepdim=True).log()


@pytest.mark.parametrize('backbone', NETWORKS.values(), ids=NETWORKS)
def test_virtual_teacher_equals_an_independent_computation(backbone, make_batch):
    model = build('TfKDClassifier', backbone).double()
    # Logits of a trained network: tempered ones of a new network are as good as uniform.
    model.head.fc.weight.data *= 1000
    images, samples = make_batch(4, dtype=torch.float64)
    labels = torch.cat([sample.gt_label for sample in samples])
    losses = model.loss(images, samples)
    z = logits(model, images)
    # tau = 20, alpha = 0.1; tempered: Eq. (9).
    at_label, elsewhere = math.exp(0.99 / 20), math.exp(0.01 / 9 / 20)
    q = torch.full((4, 10), elsewhere, dtype=torch.float64)
    q[range(4), labels] = at_label
    q /= at_label + 9 * elsewhere
    assert losses.keys() == {'loss_cls', 'loss_kd'}
    torch.testing.assert_close(losses['loss_cls'], -0.9 * log_softmax(z)[range(4), labels].mean())
    kl = (q * (q.log() - log_softmax(z / 20))).sum() / 4
    torch.testing.assert_close(losses['loss_kd'], 0.1 * kl, rtol=1e-5, atol=0)
    assert kl > 0.01


@pytest.mark.parametrize('backbone', NETWORKS.values(), ids=NETWORKS)
def test_trained_teacher_equals_an_independent_computation(backbone, checkpoint, make_batch):
    model = build('TfKDClassifier', backbone, teacher_checkpoint=checkpoint(backbone), multiplier=4).double()
    images, samples = make_batch(4, dtype=torch.float64)
    labels = torch.cat([sample.gt_label for sample in samples])
    losses = model.loss(images, samples)
    z, z_t = logits(model, images), logits(model.teacher, images)
    assert not torch.allclose(z, z_t)
    # T = 6, alpha = 0.95, m / C = 0.4.
    q = (z_t / 6).softmax(1)
    kl = (q * (log_softmax(z_t / 6) - log_softmax(z / 6))).sum() / 4
    torch.testing.assert_close(losses['loss_cls'], -0.05 * log_softmax(z)[range(4), labels].mean())
    torch.testing.assert_close(losses['loss_kd'], 0.95 * 0.4 * 36 * kl)


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


def test_only_the_student_learns(checkpoint, make_batch):
    model = build('TfKDClassifier', teacher_checkpoint=checkpoint(NETWORKS['ResNet']))
    before = deepcopy(model.teacher.state_dict())
    for loss in model.train().loss(*make_batch(4)).values():
        assert all(g is not None and g.any() for g in gradients(loss, model.backbone))
    assert not any(p.requires_grad for p in model.teacher.parameters())
    tiny.assert_same_state(dict(before), dict(model.teacher.state_dict()))


def test_an_equal_student_learns_from_the_labels_alone(checkpoint, make_batch):
    model = build('TfKDClassifier', teacher_checkpoint=checkpoint(NETWORKS['ResNet']))
    model.load_state_dict(model.teacher.state_dict(), strict=False)
    losses = model.eval().loss(*make_batch(4))
    torch.testing.assert_close(losses['loss_kd'], torch.tensor(0.0), rtol=0, atol=1e-6)
    assert losses['loss_cls'] > 0.01


@pytest.mark.parametrize('teacher_checkpoint', [None, 'gone.pth'])
def test_without_alpha_the_plain_network_is_left(teacher_checkpoint, make_batch):
    model = build('TfKDClassifier', alpha=0, teacher_checkpoint=teacher_checkpoint)
    plain = build('ImageClassifier')
    model.check_loader(None)
    assert list(model.state_dict()) == list(plain.state_dict())
    losses, expected = model.loss(*make_batch(4)), plain.loss(*make_batch(4))
    assert losses.keys() == {'loss_cls'} and torch.equal(losses['loss_cls'], expected['loss'])
    for mine, reference in zip(gradients(losses['loss_cls'], model), gradients(expected['loss'], plain), strict=True):
        assert torch.equal(mine, reference)


def test_with_alpha_1_the_cross_entropy_is_gone(make_batch):
    assert build('TfKDClassifier', alpha=1).loss(*make_batch(4)).keys() == {'loss_kd'}


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
