import math

import golden
import pytest
import torch

from mixskd_mm.errors import InputError
from mixskd_mm.models import KDLoss
from mixskd_mm.models.losses import cross_entropy, kd_loss, kl_loss


def logits(n=6, c=5, scale=2.0, seed=0):
    return scale * torch.randn(n, c, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def test_value_of_a_case_done_by_hand():
    """T = 2, sigma(teacher / T) = (3/4, 1/4), sigma(student / T) = (1/2, 1/2), and a second image on which they agree."""
    teacher = torch.tensor([[2 * math.log(3.0), 0.0], [1.0, 5.0]])
    student = torch.tensor([[1.0, 1.0], [1.0, 5.0]])
    kl = 0.75 * math.log(0.75 / 0.5) + 0.25 * math.log(0.25 / 0.5)
    assert kd_loss(student, teacher, 2.0).item() == pytest.approx(4 * kl / 2, rel=1e-6)


def test_zero_for_equal_logits_and_for_logits_that_differ_by_a_constant():
    z = logits()
    assert kd_loss(z, z, 3.0).item() == pytest.approx(0, abs=1e-14)
    assert kd_loss(z + 7, z, 3.0).item() == pytest.approx(0, abs=1e-14)


def test_student_comes_first():
    student, teacher = logits(seed=1), logits(seed=2)
    p, q = (teacher / 3).softmax(1), (student / 3).softmax(1)
    forward, backward = (p * (p / q).log()).sum(1).mean(), (q * (q / p).log()).sum(1).mean()
    assert abs(forward - backward) > 1e-3
    torch.testing.assert_close(kd_loss(student, teacher, 3.0), 9 * forward)


def test_tends_to_half_the_squared_distance_of_centred_logits_as_temperature_grows():
    """T^2 is what keeps this limit finite."""
    student, teacher = logits(seed=1), logits(seed=2)
    difference = (student - student.mean(1, keepdim=True)) - (teacher - teacher.mean(1, keepdim=True))
    limit = (difference**2).sum(1).mean() / (2 * student.shape[1])
    torch.testing.assert_close(kd_loss(student, teacher, 1e4), limit, rtol=1e-3, atol=0)
    torch.testing.assert_close(kd_loss(student, teacher, 2e4), limit, rtol=1e-3, atol=0)


def test_gradient_of_the_student_is_t_times_the_difference_of_probabilities_and_the_teacher_has_none():
    student, teacher = logits(seed=1).requires_grad_(), logits(seed=2).requires_grad_()
    kd_loss(student, teacher, 3.0).backward()
    expected = 3 * ((student / 3).softmax(1) - (teacher / 3).softmax(1)) / len(student)
    torch.testing.assert_close(student.grad, expected.detach())
    assert teacher.grad is None


@pytest.mark.parametrize('dtype', [torch.float16, torch.bfloat16])
def test_half_logits_give_the_float32_loss(dtype):
    student, teacher = logits(seed=1).to(dtype), logits(seed=2).to(dtype)
    loss = kd_loss(student, teacher, 3.0)
    assert loss.dtype == torch.float32
    assert torch.equal(loss, kd_loss(student.float(), teacher.float(), 3.0))


@pytest.mark.parametrize('temperature', [1.0, 3.0])
def test_finite_with_finite_gradient_at_the_ends_of_float16(temperature):
    """log_softmax of the first row is -120000: far below what float16 holds, and exp of it is 0."""
    student = torch.tensor([[6e4, -6e4, 0], [1e4, 1e4, 1e4]], dtype=torch.float16, requires_grad=True)
    teacher = torch.tensor([[-6e4, 6e4, 0], [6e4, 6e4, -6e4]], dtype=torch.float16)
    loss = kd_loss(student, teacher, temperature)
    loss.backward()
    kl = (12e4 / temperature + math.log(3) - math.log(2)) / 2
    assert loss.item() == pytest.approx(temperature**2 * kl, rel=1e-3)
    assert student.grad.isfinite().all() and student.grad.abs().sum() > 0


def test_module_is_the_function_and_refuses_a_temperature_of_zero():
    student, teacher = logits(seed=1), logits(seed=2)
    assert torch.equal(KDLoss(temperature=2.5)(student, teacher), kd_loss(student, teacher, 2.5))
    with pytest.raises(InputError, match=r'^KDLoss temperature=0: expected a finite number > 0$'):
        KDLoss(temperature=0)


@pytest.mark.parametrize('T', [1.0, 4.0])
def test_a_teacher_given_as_probabilities_is_the_same_teacher(T):
    student, teacher = logits(seed=1).requires_grad_(), logits(seed=2).requires_grad_()
    loss = T**2 * kl_loss(student / T, (teacher / T).softmax(1))
    torch.testing.assert_close(loss, kd_loss(student, teacher, T))
    loss.backward()
    assert student.grad.any() and teacher.grad is None


def test_a_target_of_zero_adds_nothing():
    one_hot = torch.tensor([[0.0, 1.0, 0.0]])
    student = torch.tensor([[1.0, 2.0, -3.0]], requires_grad=True)
    loss = kl_loss(student, one_hot)
    loss.backward()
    torch.testing.assert_close(loss, cross_entropy(student, torch.tensor([1])))
    assert student.grad.isfinite().all()


@pytest.mark.parametrize('name', ['cifar', 'fine_grained'])
def test_cs_kd_as_released_and_as_the_library_has_it(name):
    """The library ignores the weight of the class-wise term."""
    case = golden.case('cs_kd', name)
    x, hyper, values, grads = golden.tensors(case), case['hyper'], case['values'], case['grads']
    ce = cross_entropy(x['z_anchor'], x['y'])
    class_wise = KDLoss(hyper['T'])(x['z_anchor'], x['z_partner'])
    total = ce + hyper['lamda'] * class_wise
    golden.assert_value(ce, values['ce'])
    golden.assert_value(class_wise, values['cls_loss'])
    golden.assert_value(total, values['total'])
    golden.assert_value(ce + class_wise, values['lib']['total'])
    golden.assert_gradients(total, x, grads['total'])
    golden.assert_gradients(class_wise, x, grads['cls_only'])
    golden.assert_gradients(ce + class_wise, x, grads['lib_total'])
