import pytest
import torch

from mixskd_mm.models import DiscriminatorLoss
from mixskd_mm.models.losses import discriminator_loss


def logits(seed, shape=(5, 1)):
    return 2 * torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def test_one_logit_is_eq_8():
    interpolated, mixed = logits(0), logits(1)
    p, q = 1 / (1 + (-interpolated).exp()), 1 / (1 + (-mixed).exp())
    torch.testing.assert_close(discriminator_loss(interpolated, mixed), -(p.log() + (1 - q).log()).mean())


def test_second_logit_has_the_opposite_target():
    interpolated, mixed = logits(0, (5, 2)), logits(1, (5, 2))
    expected = discriminator_loss(interpolated[:, :1], mixed[:, :1]) + discriminator_loss(
        mixed[:, 1:], interpolated[:, 1:]
    )
    torch.testing.assert_close(discriminator_loss(interpolated, mixed), expected)


def test_two_logits_are_four_times_the_releases_mean():
    """The release averages the binary cross-entropies of 2N rows of 2 logits."""
    interpolated, mixed = logits(0, (5, 2)), logits(1, (5, 2))
    targets = torch.tensor([[1.0, 0.0]] * 5 + [[0.0, 1.0]] * 5, dtype=torch.float64)
    released = torch.nn.BCELoss()(torch.cat([interpolated, mixed]).sigmoid(), targets)
    torch.testing.assert_close(discriminator_loss(interpolated, mixed), 4 * released)


def test_gradient_flows_to_both_sides():
    interpolated, mixed = logits(0).requires_grad_(), logits(1).requires_grad_()
    discriminator_loss(interpolated, mixed).backward()
    torch.testing.assert_close(interpolated.grad, -(1 - interpolated.sigmoid()).detach() / 5)
    torch.testing.assert_close(mixed.grad, mixed.sigmoid().detach() / 5)


@pytest.mark.parametrize('shape', [(2, 1), (2, 2)])
@pytest.mark.parametrize('dtype', [torch.float16, torch.bfloat16])
def test_finite_and_in_float32_for_logits_whose_sigmoid_is_exactly_0_or_1(dtype, shape):
    wrong = torch.full(shape, -6e4, dtype=dtype)
    wrong[:, 1:] = 6e4
    wrong.requires_grad_()
    loss = discriminator_loss(wrong, -wrong)
    loss.backward()
    assert loss.dtype == torch.float32
    assert loss.item() == pytest.approx(2 * 6e4 * shape[1], rel=1e-2)
    assert wrong.grad.isfinite().all() and (wrong.grad != 0).all()
    assert discriminator_loss(-wrong, wrong).item() == 0


def test_module_is_the_function():
    assert torch.equal(DiscriminatorLoss()(logits(0), logits(1)), discriminator_loss(logits(0), logits(1)))
