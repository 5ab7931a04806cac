import math

import golden
import pytest
import torch
import torch.nn.functional as F

from mixskd_mm.errors import InputError
from mixskd_mm.models import DistillationCrossEntropyLoss, HintLoss, KDLoss
from mixskd_mm.models.losses import cross_entropy, distillation_cross_entropy, hint_loss, kd_loss


def random(seed, shape=(3, 4, 2, 5)):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


@pytest.mark.parametrize('shape', [(3, 7), (3, 4, 2, 5)])
def test_hints_in_float64(shape):
    student, teacher = random(0, shape), random(1, shape)
    pairs = list(zip(student.flatten().tolist(), teacher.flatten().tolist()))
    squares = [(s - t) ** 2 for s, t in pairs]
    assert hint_loss(student, teacher).item() == pytest.approx(sum(squares) / len(squares))
    assert hint_loss(student, teacher, 'norm').item() == pytest.approx(math.sqrt(sum(squares)))
    masked = sum((s - t) ** 2 for s, t in pairs if s > 0 or t > 0)
    assert hint_loss(student, teacher, 'masked_sum').item() == pytest.approx(masked)
    assert masked < sum(squares)


@pytest.mark.parametrize('form', ['mean', 'norm', 'masked_sum'])
def test_no_hint_and_a_finite_gradient_for_equal_features(form):
    """The norm has no derivative at 0."""
    student, teacher = random(0).requires_grad_(), random(0).requires_grad_()
    loss = hint_loss(student, teacher, form)
    loss.backward()
    assert loss.item() == 0 and not student.grad.any() and teacher.grad is None


@pytest.mark.parametrize('form', ['mean', 'norm', 'masked_sum'])
def test_float32_for_half_features_whose_squares_overflow(form):
    student = torch.full((2, 3), 1e4, dtype=torch.float16, requires_grad=True)
    loss = hint_loss(student, -student, form)
    loss.backward()
    assert loss.dtype == torch.float32 and loss.isfinite() and student.grad.isfinite().all()


def test_distillation_cross_entropy_is_kd_plus_the_teachers_entropy():
    student, teacher = (2 * random(s, (4, 6)) for s in (0, 1))
    student.requires_grad_()
    q = (teacher / 3).softmax(1)
    entropy = -(q * q.log()).sum(1).mean()
    loss = distillation_cross_entropy(student, teacher, 3.0)
    torch.testing.assert_close(loss, kd_loss(student, teacher, 3.0) + 9 * entropy)
    torch.testing.assert_close(distillation_cross_entropy(student, teacher, 3.0, times_t_squared=False), loss / 9)
    (gradient,) = torch.autograd.grad(loss, student)
    torch.testing.assert_close(gradient, torch.autograd.grad(kd_loss(student, teacher, 3.0), student)[0])


@pytest.fixture
def case():
    return golden.case('byot', 'loss')


def test_the_library(case):
    x, hyper, values, grads = golden.tensors(case), case['hyper']['lib'], case['values']['lib'], case['grads']
    kd, hint = KDLoss(temperature=hyper['T']), HintLoss()
    ce = sum(cross_entropy(x[z], x['y']) for z in ('z_deepest', 'z_stage3', 'z_stage2'))
    distillation = sum(kd(x[z], x['z_deepest']) for z in ('z_stage3', 'z_stage2'))
    distillation = distillation + hyper['feature_weight'] * sum(
        hint(x[h], x['map_deepest']) for h in ('map_head1', 'map_head2')
    )
    golden.assert_value(ce, values['loss_cls'])
    golden.assert_value(distillation, values['loss_div'])
    golden.assert_gradients(ce + distillation, x, grads['lib_total'])
    golden.assert_gradients(distillation, x, grads['lib_div_only'])


def test_the_journal_versions_release(case):
    x, hyper, values = golden.tensors(case), case['hyper']['journal'], case['values']['journal']
    a, f = hyper['loss_coefficient'], hyper['feature_loss_coefficient']
    soft_ce, hint = DistillationCrossEntropyLoss(hyper['T'], times_t_squared=False), HintLoss(form='norm')
    total = cross_entropy(x['z_deepest'], x['y'])
    for stage in ('stage3', 'stage2', 'stage1'):
        ce, soft = cross_entropy(x[f'z_{stage}'], x['y']), soft_ce(x[f'z_{stage}'], x['z_deepest'])
        golden.assert_value(ce, values['ce'][stage])
        golden.assert_value(soft, values['soft_ce_no_T2'][stage])
        total = total + (1 - a) * ce + a * soft
    for stage, adapter in (('stage2', 'adapter2'), ('stage1', 'adapter3')):
        h = F.linear(x[f'h_{stage}'], x[f'{adapter}_weight'], x[f'{adapter}_bias'])
        distance = hint(h, x['h_deepest'])
        golden.assert_value(distance, values['feature_distance'][stage])
        total = total + f * distance
    golden.assert_value(total, values['total'])
    golden.assert_gradients(total, x, case['grads']['journal_total'])


def test_the_unofficial_code(case):
    x, hyper, values = golden.tensors(case), case['hyper']['unofficial'], case['values']['unofficial']
    a, b = hyper['alpha'], hyper['beta']
    soft_ce, hint = DistillationCrossEntropyLoss(hyper['T']), HintLoss(form='masked_sum')
    total = (1 - a) * cross_entropy(x['z_deepest'], x['y'])
    for i in range(3):
        z, h = x[f'z_stage{i + 1}'], x[f'h_stage{i + 1}']
        soft, distance = soft_ce(z, x['z_deepest']), hint(h, x['h_deepest'])
        golden.assert_value(soft, values['soft_ce_times_T2_stage'][i])
        golden.assert_value(distance, values['feature_stage'][i])
        total = total + (1 - a) * cross_entropy(z, x['y']) + a * soft + b * distance
    golden.assert_value(total, values['total'])
    golden.assert_gradients(total, x, case['grads']['unofficial_total'])


def test_modules_refuse_what_the_functions_cannot_compute():
    with pytest.raises(InputError, match=r"^HintLoss form='l2': expected one of \['mean', 'norm', 'masked_sum'\]$"):
        HintLoss(form='l2')
    with pytest.raises(InputError, match=r'^DistillationCrossEntropyLoss temperature=0: expected a finite number > 0$'):
        DistillationCrossEntropyLoss(temperature=0)
