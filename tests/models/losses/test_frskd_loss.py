import golden
import pytest
import torch

from mixskd_mm.models import FRSKDFeatureLoss, Mixture
from mixskd_mm.models.losses import cross_entropy, frskd_feature_loss, kd_loss, mixed_cross_entropy, normalized_map


def maps(seed, shape=(2, 3, 4, 6)):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def test_loss_in_float64():
    student, teacher = maps(0), maps(1, (2, 5, 4, 6))
    total = 0.0
    for n in range(2):
        a, b = ((x[n] ** 2).sum(0) / x.shape[1] for x in (student, teacher))
        total += ((a / (a**2).sum().sqrt() - b / (b**2).sum().sqrt()) ** 2).sum()
    torch.testing.assert_close(frskd_feature_loss(student, teacher), total / (2 * 4 * 6))


def test_map_has_norm_one_and_does_not_depend_on_the_scale():
    q = normalized_map(maps(0))
    torch.testing.assert_close(q.norm(dim=1), torch.ones(2, dtype=torch.float64))
    torch.testing.assert_close(normalized_map(-7 * maps(0)), q)


def test_finite_with_a_finite_gradient_for_an_image_whose_features_are_all_zero():
    student = torch.zeros(1, 2, 3, 3, requires_grad=True)
    loss = frskd_feature_loss(student, torch.ones(1, 2, 3, 3))
    loss.backward()
    assert loss.isfinite() and student.grad.isfinite().all()


def test_float32_for_half_features_whose_squares_overflow():
    student = torch.full((1, 2, 2, 2), 3e4, dtype=torch.float16)
    loss = frskd_feature_loss(student, student / 100)
    assert loss.dtype == torch.float32 and loss.item() == pytest.approx(0, abs=1e-10)


def test_the_original_code():
    """The library's loss has the same value; it does not detach the teacher's logits, so its gradients are not ours."""
    case = golden.case('frskd', 'loss')
    x, hyper, values, grads = golden.tensors(case), case['hyper'], case['values'], case['grads']
    levels = [i for i in range(1, 9) if f'F{i}' in x]
    kd = kd_loss(x['z'], x['z_teacher'], hyper['T'])
    features = [FRSKDFeatureLoss()(x[f'F{i}'], x[f'T{i}']) for i in levels]
    distillation = hyper['alpha'] * kd + hyper['beta'] * sum(features)
    ce, ce_teacher = cross_entropy(x['z'], x['y']), cross_entropy(x['z_teacher'], x['y'])
    golden.assert_value(ce, values['ce_student'])
    golden.assert_value(ce_teacher, values['ce_self_teacher'])
    golden.assert_value(kd, values['kd'])
    golden.assert_value(torch.stack(features), values['attention_per_level'])
    golden.assert_value(distillation, values['alpha_kd_plus_beta_att'])
    golden.assert_value(distillation, values['lib']['loss_div'])
    golden.assert_value(ce + ce_teacher, values['lib']['loss_cls'])
    golden.assert_value(ce + ce_teacher + distillation, values['total'])
    for i, expected in zip(levels, values['attention_map_head']):
        golden.assert_value(normalized_map(x[f'F{i}']).flatten()[: len(expected)], expected)
    golden.assert_gradients(ce + ce_teacher + distillation, x, grads['total'])
    golden.assert_gradients(distillation, x, grads['kd_and_attention_only'])
    students = {name: g for name, g in grads['lib_div_only'].items() if name != 'z_teacher'}
    golden.assert_gradients(distillation, x, students)

    mixture = Mixture(hyper['mixup_lambda'], x['index'])
    mixed = mixed_cross_entropy(x['z'], x['y'], mixture) + mixed_cross_entropy(x['z_teacher'], x['y'], mixture)
    golden.assert_value(mixed + distillation, values['total_mixup'])
    golden.assert_gradients(mixed + distillation, x, grads['total_mixup'])
