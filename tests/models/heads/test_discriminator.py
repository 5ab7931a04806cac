import pytest
import torch

from mixskd_mm.errors import InputError
from mixskd_mm.models import Discriminator, Mixture
from mixskd_mm.models.stages import global_average_pool


def test_is_a_two_layer_mlp_of_the_papers_size():
    shapes = [tuple(p.shape) for p in Discriminator(in_channels=512).parameters()]
    assert shapes == [(128, 512), (128,), (1, 128), (1,)]
    shapes = [tuple(p.shape) for p in Discriminator(in_channels=512, hidden_channels=32, num_logits=2).parameters()]
    assert shapes == [(32, 512), (32,), (2, 32), (2,)]


def test_returns_the_logits_of_the_mlp():
    D = Discriminator(in_channels=6, hidden_channels=4).double()
    pooled = torch.randn(3, 6, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    first, _, second = D.mlp
    hidden = (pooled @ first.weight.T + first.bias).clamp(min=0)
    torch.testing.assert_close(D(pooled), hidden @ second.weight.T + second.bias)


def test_pooled_interpolation_is_the_interpolation_of_pooled_features():
    """Why D_k may read mixture(GAP(F)) where the paper has GAP(mixture(F))."""
    torch.manual_seed(0)
    D, mixture = Discriminator(in_channels=6).double(), Mixture(0.3, [1, 2, 0])
    feature = torch.randn(3, 6, 4, 4, dtype=torch.float64)
    whole = D(global_average_pool(mixture(feature)))
    torch.testing.assert_close(D(mixture(global_average_pool(feature))), whole, rtol=1e-12, atol=1e-14)


def test_frozen_has_no_trainable_parameters_but_passes_gradients_on():
    D = Discriminator(in_channels=6, frozen=True)
    pooled = torch.randn(3, 6, generator=torch.Generator().manual_seed(0), requires_grad=True)
    D(pooled).sum().backward()
    assert not any(p.requires_grad for p in D.parameters())
    assert (pooled.grad != 0).any()


@pytest.mark.parametrize('num_logits', [0, 3, None])
def test_refuses_other_numbers_of_logits(num_logits):
    with pytest.raises(InputError) as error:
        Discriminator(in_channels=6, num_logits=num_logits)
    assert str(error.value) == f'Discriminator num_logits={num_logits}: expected 1 (paper) or 2 (release)'
