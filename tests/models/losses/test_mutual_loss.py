import math

import golden
import pytest
import torch

from mixskd_mm.errors import InputError
from mixskd_mm.models import KDLoss, SmoothedKLLoss
from mixskd_mm.models.losses import cross_entropy, cross_stage_loss, kd_loss, same_stage_loss, smoothed_kl

STAGES = ('c3', 'c2', 'c1')


def logits(seed, shape=(3, 4), scale=2.0):
    return scale * torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


@pytest.mark.parametrize('shape, scale, epsilon', [((3, 4), 2.0, 1e-8), ((1, 9), 30.0, 1e-8), ((5, 2), 5.0, 1e-3)])
def test_smoothed_kl_in_float64(shape, scale, epsilon):
    student, teacher = logits(1, shape, scale), logits(2, shape, scale)
    total = 0.0
    for s, t in zip(student.tolist(), teacher.tolist()):
        p, q = ([math.exp(z - max(x)) for z in x] for x in (s, t))
        p, q = ([(e / sum(x) + epsilon) / (1 + len(x) * epsilon) for e in x] for x in (p, q))
        total += sum(b * math.log(b / a) for a, b in zip(p, q))
    assert smoothed_kl(student, teacher, epsilon).item() == pytest.approx(total / shape[0], rel=1e-10)


def test_smoothed_kl_is_the_plain_kl_where_no_probability_is_small():
    student, teacher = logits(1), logits(2)
    torch.testing.assert_close(smoothed_kl(student, teacher), kd_loss(student, teacher, 1.0), rtol=1e-6, atol=0)


@pytest.mark.parametrize('dtype', [torch.float32, torch.float16, torch.bfloat16])
def test_smoothed_kl_of_opposite_certainties_is_bounded_and_its_gradient_finite(dtype):
    """Without smoothing the value would be 2e4, and a gradient through log 0 would not be finite."""
    student = torch.tensor([[1e4, -1e4], [30.0, -30.0]], dtype=dtype, requires_grad=True)
    teacher = torch.tensor([[-1e4, 1e4], [-30.0, 30.0]], dtype=dtype)
    loss = smoothed_kl(student, teacher)
    loss.backward()
    assert loss.dtype == torch.float32
    assert loss.item() == pytest.approx(-math.log(1e-8), rel=1e-4)
    assert student.grad.isfinite().all()


def test_pairs_of_two_networks_with_a_classifier_more_in_one():
    """Each pair gets a value of its own, so that the sums tell which pairs were counted."""
    students, teachers = [torch.tensor(float(i)) for i in range(2)], [torch.tensor(float(j)) for j in range(3)]
    pairs = []

    def pair_loss(student, teacher):
        pairs.append((int(student), int(teacher)))
        return 10 ** (3 * student + teacher)

    assert same_stage_loss(students, teachers, pair_loss).item() == 10**0 + 10**4
    assert cross_stage_loss(students, teachers, pair_loss).item() == 10**1 + 10**2 + 10**3 + 10**5
    assert len(pairs) == len(set(pairs)) == 6


def test_networks_of_one_classifier_have_no_cross_stage_pair():
    z1, z2 = logits(1), logits(2)
    assert cross_stage_loss([z1], [z2], smoothed_kl).item() == 0
    torch.testing.assert_close(same_stage_loss([z1], [z2], smoothed_kl), smoothed_kl(z1, z2))


@pytest.mark.parametrize('m', [2, 3, 5])
def test_each_classifier_of_a_network_learns_from_every_other_and_not_from_itself(m):
    z = [logits(i).requires_grad_() for i in range(m)]
    loss = cross_stage_loss(z, z, smoothed_kl)
    others = [sum(smoothed_kl(z[i], z[j]) for j in range(m) if j != i) for i in range(m)]
    torch.testing.assert_close(loss, sum(others))
    for i in range(m):
        (actual,) = torch.autograd.grad(loss, z[i], retain_graph=True)
        (expected,) = torch.autograd.grad(others[i], z[i])
        torch.testing.assert_close(actual, expected)


@pytest.mark.parametrize('name', ['small', 'C100', 'peaked'])
def test_dcm_as_released(name):
    case = golden.case('dcm', name)
    x, values = golden.tensors(case), case['values']
    net1, net2 = ([x[f'z{n}_{stage}'] for stage in STAGES] for n in (1, 2))
    for student, teachers in values['kl_student_from_teacher'].items():
        for teacher, expected in teachers.items():
            golden.assert_value(smoothed_kl(x[student], x[teacher]), expected)

    pair_loss = SmoothedKLLoss()
    same1, same2 = same_stage_loss(net1, net2, pair_loss), same_stage_loss(net2, net1, pair_loss)
    cross1, cross2 = cross_stage_loss(net1, net2, pair_loss), cross_stage_loss(net2, net1, pair_loss)
    ce = sum(cross_entropy(z, x['y']) for z in net1 + net2)
    kl = same1 + same2 + cross1 + cross2
    golden.assert_value(ce, values['sum_ce'])
    golden.assert_value(same1 + same2, values['sum_kl_same_stage'])
    golden.assert_value(cross1 + cross2, values['sum_kl_cross_stage'])
    golden.assert_value(ce + kl, values['total'])
    golden.assert_gradients(ce + kl, x, case['grads']['total'])
    golden.assert_gradients(kl, x, case['grads']['kl_only'])
    golden.assert_gradients(same2 + cross2, x, case['grads']['kl_only_students_of_net2'])


@pytest.mark.parametrize('name', ['small', 'C100'])
def test_dks_as_released_and_as_the_library_has_it(name):
    case = golden.case('dks', name)
    x, values, grads = golden.tensors(case), case['values'], case['grads']
    z = [x[f'z_{stage}'] for stage in STAGES]
    for student, teachers in values['kl_student_from_teacher'].items():
        for teacher, expected in teachers.items():
            golden.assert_value(smoothed_kl(x[student], x[teacher]), expected)
    ce, kl = sum(cross_entropy(logits, x['y']) for logits in z), cross_stage_loss(z, z, SmoothedKLLoss())
    golden.assert_value(ce + kl, values['total'])
    golden.assert_gradients(ce + kl, x, grads['total'])
    golden.assert_gradients(kl, x, grads['kl_only'])

    kd = cross_stage_loss(z, z, KDLoss(temperature=case['hyper']['lib_T']))
    golden.assert_value(ce, values['lib']['loss_cls'])
    golden.assert_value(kd, values['lib']['loss_div'])
    golden.assert_gradients(ce + kd, x, grads['lib_total'])
    golden.assert_gradients(kd, x, grads['lib_div_only'])


def test_module_is_the_function_and_refuses_an_epsilon_of_zero():
    student, teacher = logits(1), logits(2)
    assert torch.equal(SmoothedKLLoss(epsilon=1e-2)(student, teacher), smoothed_kl(student, teacher, 1e-2))
    with pytest.raises(InputError, match=r'^SmoothedKLLoss epsilon=0: expected a finite number > 0$'):
        SmoothedKLLoss(epsilon=0)
