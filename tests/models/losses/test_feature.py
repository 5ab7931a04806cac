import pytest
import torch

from mixskd_mm.models import FeatureLoss
from mixskd_mm.models.losses import feature_loss


def maps(seed, shape=(3, 5, 2, 4)):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def test_is_the_squared_norm_over_hwc_and_the_batch():
    a, b = maps(0), maps(1)
    expected = sum((a[i] - b[i]).norm() ** 2 / (5 * 2 * 4) for i in range(3)) / 3
    torch.testing.assert_close(feature_loss(a, b), expected)


def test_symmetric_with_opposite_gradients():
    a, b = maps(0).requires_grad_(), maps(1).requires_grad_()
    loss = feature_loss(a, b)
    assert torch.equal(loss, feature_loss(b, a))
    loss.backward()
    torch.testing.assert_close(a.grad, 2 * (a - b).detach() / a.numel())
    assert torch.equal(a.grad, -b.grad)


@pytest.mark.parametrize('dtype', [torch.float16, torch.bfloat16])
def test_finite_and_in_float32_for_half_maps_whose_squares_overflow(dtype):
    a = torch.full((2, 3, 2, 2), 3e4, dtype=dtype, requires_grad=True)
    b = torch.full((2, 3, 2, 2), -3e4, dtype=dtype)
    loss = feature_loss(a, b)
    loss.backward()
    assert loss.dtype == torch.float32
    assert loss.item() == pytest.approx(3.6e9, rel=1e-2)
    assert a.grad.isfinite().all() and (a.grad > 0).all()


def test_module_is_the_function():
    assert torch.equal(FeatureLoss()(maps(0), maps(1)), feature_loss(maps(0), maps(1)))
