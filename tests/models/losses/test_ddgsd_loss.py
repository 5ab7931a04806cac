import golden
import pytest
import torch

from mixskd_mm.models import MMDLoss
from mixskd_mm.models.losses import cross_entropy, kd_loss, mmd_loss


def features(seed, shape=(4, 6)):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def test_is_the_squared_distance_of_the_mean_vectors_in_float64():
    a, b = features(0), features(1)
    expected = sum((sum(a[n, d] - b[n, d] for n in range(4)) / 4) ** 2 for d in range(6))
    torch.testing.assert_close(mmd_loss(a, b), expected)
    torch.testing.assert_close(mmd_loss(a, b, released=True), ((a.sum() - b.sum()) / 24) ** 2)


def test_sees_a_difference_of_vectors_whose_entries_have_the_same_mean():
    a, b = torch.tensor([[1.0, 3.0]]), torch.tensor([[3.0, 1.0]])
    assert mmd_loss(a, b).item() == 8
    assert mmd_loss(a, b, released=True).item() == 0


def test_mutual_with_opposite_gradients():
    a, b = features(0).requires_grad_(), features(1).requires_grad_()
    loss = mmd_loss(a, b)
    torch.testing.assert_close(loss, mmd_loss(b, a))
    loss.backward()
    torch.testing.assert_close(a.grad, (2 * (a.mean(0) - b.mean(0)) / 4).expand(4, 6).detach())
    torch.testing.assert_close(a.grad, -b.grad)


def test_float32_for_half_features_whose_squares_overflow():
    a = torch.full((2, 3), 3e4, dtype=torch.float16)
    loss = mmd_loss(a, -a)
    assert loss.dtype == torch.float32 and loss.item() == pytest.approx(3 * 6e4**2, rel=1e-3)


def test_the_library_and_the_unofficial_code():
    """The unofficial code averages its KL over classes, without T^2, and does not detach: its gradients are not ours."""
    case = golden.case('ddgsd', 'loss')
    x, hyper, values, grads = golden.tensors(case), case['hyper'], case['values'], case['grads']
    z_a, z_b = x['z_a'], x['z_b']
    ce = cross_entropy(z_a, x['y']) + cross_entropy(z_b, x['y'])
    T, lib = hyper['lib_T'], values['lib']
    a_from_b, b_from_a = kd_loss(z_a, z_b, T), kd_loss(z_b, z_a, T)
    mmd = MMDLoss(released=True)(x['h_a'], x['h_b'])
    distillation = a_from_b + b_from_a + 5e-4 * mmd
    golden.assert_value(ce / 4, lib['loss_cls'])
    golden.assert_value(a_from_b, lib['kd_a_from_b'])
    golden.assert_value(b_from_a, lib['kd_b_from_a'])
    golden.assert_value(mmd, lib['scalar_mmd_before_weight'])
    golden.assert_value(distillation, lib['loss_div'])
    golden.assert_gradients(ce / 4 + distillation, x, grads['lib_total'])
    golden.assert_gradients(distillation, x, grads['lib_div_only'])

    T, unofficial = hyper['T'], values['unofficial']
    kl = (kd_loss(z_a, z_b, T) + kd_loss(z_b, z_a, T)) / T**2
    golden.assert_value(ce, unofficial['ce_sum'])
    golden.assert_value(kl, unofficial['kd_class_sum'])
    golden.assert_value(kl / hyper['C'], unofficial['kd_class_mean'])


def test_module_is_the_function():
    a, b = features(0), features(1)
    assert torch.equal(MMDLoss()(a, b), mmd_loss(a, b))
