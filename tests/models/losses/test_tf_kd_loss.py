import math
import re

import golden
import pytest
import torch

from mixskd_mm.errors import InputError
from mixskd_mm.models import KDLoss, TemperedLabelSmoothingLoss, VirtualTeacherLoss
from mixskd_mm.models.losses import (
    cross_entropy,
    smooth_labels,
    soft_cross_entropy,
    tempered_label_smoothing,
    virtual_teacher,
    virtual_teacher_loss,
)

LABELS = torch.tensor([2, 0, 2])


def logits(c=5):
    return 2 * torch.randn(len(LABELS), c, generator=torch.Generator().manual_seed(0), dtype=torch.float64)


def log_softmax(z):
    return [x - max(z) - math.log(sum(math.exp(y - max(z)) for y in z)) for x in z]


@pytest.mark.parametrize('c, T, correct_prob', [(5, 20.0, 0.99), (100, 40.0, 0.99), (3, 0.5, 0.9)])
def test_virtual_teacher_in_float64(c, T, correct_prob):
    at_label, elsewhere = math.exp(correct_prob / T), math.exp((1 - correct_prob) / (c - 1) / T)
    q = virtual_teacher(LABELS, c, T, correct_prob).double()
    expected = torch.full((3, c), elsewhere, dtype=torch.float64)
    expected[range(3), LABELS] = at_label
    torch.testing.assert_close(q, expected / (at_label + (c - 1) * elsewhere), rtol=1e-6, atol=0)
    assert torch.equal(q.argmax(1), LABELS)


@pytest.mark.parametrize('temper_student', [True, False])
def test_virtual_teacher_loss_in_float64(temper_student):
    T, c, total = 2.5, 5, 0.0
    for z, label in zip(logits().tolist(), LABELS.tolist()):
        log_q = log_softmax([(0.8 if k == label else 0.2 / (c - 1)) / T for k in range(c)])
        log_p = log_softmax([x / T for x in z] if temper_student else z)
        total += sum(math.exp(a) * (a - b) for a, b in zip(log_q, log_p))
    loss = virtual_teacher_loss(logits(), LABELS, T, correct_prob=0.8, temper_student=temper_student)
    assert loss.item() == pytest.approx(total / 3, rel=1e-6)


def test_tempered_label_smoothing_in_float64():
    T, c, total = 2.5, 5, 0.0
    for z, label in zip(logits().tolist(), LABELS.tolist()):
        log_p = log_softmax([x / T for x in z])
        total -= sum((0.9 if k == label else 0.1 / (c - 1)) / T * log_p[k] for k in range(c))
    assert tempered_label_smoothing(logits(), LABELS, T).item() == pytest.approx(total / 3, rel=1e-6)


def test_a_teacher_that_is_sure_gives_the_cross_entropy():
    z = logits()
    torch.testing.assert_close(tempered_label_smoothing(z, LABELS, 1.0, correct_prob=1.0), cross_entropy(z, LABELS))
    torch.testing.assert_close(
        virtual_teacher_loss(z, LABELS, 0.01, 1.0, temper_student=False), cross_entropy(z, LABELS)
    )


@pytest.mark.parametrize('loss', [virtual_teacher_loss, tempered_label_smoothing])
def test_finite_in_float32_with_a_finite_gradient_at_the_ends_of_float16(loss):
    z = torch.tensor([[6e4, -6e4, 0]], dtype=torch.float16, requires_grad=True)
    value = loss(z, torch.tensor([1]), 20.0)
    value.backward()
    assert value.dtype == torch.float32 and value.isfinite() and z.grad.isfinite().all()


@pytest.mark.parametrize('name', ['C100', 'small'])
def test_the_original_code_and_the_library(name):
    """L = (1 - alpha) CE + alpha (m / C) KL: the original averages its KL over classes, too, and multiplies by m."""
    case = golden.case('tf_kd', name)
    x, values, grads = golden.tensors(case), case['values'], case['grads']
    z, y, c = x['z'], x['y'], case['hyper']['C']
    ce = cross_entropy(z, y)

    for tag, expected in values['reg'].items():
        tau, alpha, m = (float(n) for n in re.fullmatch('tau(.+)_alpha(.+)_mult(.+)', tag).groups())
        q = virtual_teacher(y, c, tau)
        golden.assert_value(q.max(), expected['virtual_teacher_at_label'])
        golden.assert_value(q.min(), expected['virtual_teacher_elsewhere'])
        kl = VirtualTeacherLoss(tau, temper_student=False)(z, y)
        golden.assert_value(ce, expected['ce'])
        golden.assert_value(kl / c, expected['kl_element_mean'])
        total = (1 - alpha) * ce + alpha * m / c * kl
        golden.assert_value(total, expected['total'])
        golden.assert_gradients(total, x, grads[f'reg_{tag}'])

    for tag, expected in values['self'].items():
        T, alpha, m = (float(n) for n in re.fullmatch('T(.+)_alpha(.+)_mult(.+)', tag).groups())
        kd = KDLoss(T)(z, x['z_teacher'])
        golden.assert_value(kd / (c * T**2), expected['kl_element_mean_no_T2'])
        total = (1 - alpha) * ce + alpha * m / c * kd
        golden.assert_value(total, expected['total'])
        golden.assert_gradients(total, x, grads[f'self_{tag}'])

    lib = values['lib_reg']
    regulariser = TemperedLabelSmoothingLoss(lib['T'], 1 - lib['epsilon'])(z, y)
    golden.assert_value(regulariser, lib['regulariser'])
    golden.assert_value(ce + regulariser, lib['total'])
    golden.assert_gradients(regulariser, x, grads['lib_reg_only'])
    golden.assert_gradients(ce + regulariser, x, grads['lib_reg_total'])

    smoothed = soft_cross_entropy(z, smooth_labels(y, c, 0.9))
    golden.assert_value(smoothed, values['label_smoothing_official'])
    smoothed = soft_cross_entropy(z, smooth_labels(y, c, 1 - lib['epsilon']))
    golden.assert_value(smoothed, values['lib_label_smooth'])


@pytest.mark.parametrize('module', [VirtualTeacherLoss, TemperedLabelSmoothingLoss])
def test_modules_refuse_what_the_functions_cannot_compute(module):
    name = module.__name__
    with pytest.raises(InputError, match=rf'^{name} temperature=0: expected a finite number > 0$'):
        module(temperature=0)
    with pytest.raises(InputError, match=rf'^{name} correct_prob=1.5: expected a number in \(0, 1\]$'):
        module(correct_prob=1.5)
