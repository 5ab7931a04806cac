import pytest
import torch

from mixskd_mm.models import MixedCrossEntropyLoss, Mixture
from mixskd_mm.models.losses import cross_entropy, mixed_cross_entropy

LABELS = torch.tensor([0, 2, 2, 1])
INDEX = [3, 0, 1, 2]


def logits():
    return 2 * torch.randn(4, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64)


@pytest.mark.parametrize('lam', [0.0, 0.2, 1.0])
def test_mixed_cross_entropy_is_that_against_the_soft_label(lam):
    one_hot = torch.eye(3, dtype=torch.float64)[LABELS]
    soft = lam * one_hot + (1 - lam) * one_hot[INDEX]
    expected = -(soft * logits().softmax(1).log()).sum(1).mean()
    torch.testing.assert_close(mixed_cross_entropy(logits(), LABELS, Mixture(lam, INDEX)), expected)


def test_gradient_is_probability_minus_soft_label():
    z = logits().requires_grad_()
    mixed_cross_entropy(z, LABELS, Mixture(0.2, INDEX)).backward()
    one_hot = torch.eye(3, dtype=torch.float64)[LABELS]
    torch.testing.assert_close(z.grad, (z.softmax(1).detach() - 0.2 * one_hot - 0.8 * one_hot[INDEX]) / 4)


def test_clean_cross_entropy_is_the_mean_of_minus_log_p_of_the_label():
    expected = -logits().softmax(1).log()[range(4), LABELS].mean()
    torch.testing.assert_close(cross_entropy(logits(), LABELS), expected)


@pytest.mark.parametrize('dtype', [torch.float16, torch.bfloat16])
def test_finite_and_in_float32_at_extreme_half_logits(dtype):
    z = torch.tensor([[-6e4, 6e4, 0.0]] * 4, dtype=dtype, requires_grad=True)
    clean, mixed = cross_entropy(z, torch.zeros_like(LABELS)), mixed_cross_entropy(z, LABELS, Mixture(0.5, INDEX))
    (clean + mixed).backward()
    assert clean.dtype == torch.float32
    # lam is a float64 tensor of no dimensions: it must not widen the loss.
    assert mixed.dtype == torch.float32
    assert clean.item() == pytest.approx(12e4, rel=1e-2)
    assert mixed.item() == pytest.approx((12e4 + 6e4 + 6e4) / 4, rel=1e-2)
    assert z.grad.isfinite().all() and z.grad.abs().sum() > 0


def test_module_is_the_function():
    mixture = Mixture(0.2, INDEX)
    assert torch.equal(
        MixedCrossEntropyLoss()(logits(), LABELS, mixture), mixed_cross_entropy(logits(), LABELS, mixture)
    )
