import numpy as np
import pytest
import torch

from mixskd_mm.errors import InputError
from mixskd_mm.models import Mixture

INDEX = [2, 0, 1]


def matrix(lam, index):
    """lam I + (1 - lam) P: interpolation as a matrix."""
    eye = torch.eye(len(index), dtype=torch.float64)
    return lam * eye + (1 - lam) * eye[index]


@pytest.mark.parametrize('shape', [(3,), (3, 4), (3, 2, 5, 4)])
@pytest.mark.parametrize('lam', [0, 0.25, 1, 1.0, torch.tensor(0.25), torch.tensor(0.25, dtype=torch.float64)])
def test_interpolates_anything_whose_first_dimension_is_the_batch(lam, shape):
    x = torch.randn(shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    mixed = Mixture(lam, INDEX)(x)
    expected = (matrix(float(lam), INDEX) @ x.reshape(3, -1)).reshape(shape)
    torch.testing.assert_close(mixed, expected, rtol=1e-15, atol=1e-15)


def test_lam_1_gives_the_first_image_of_each_pair_and_lam_0_the_second():
    x = torch.randn(3, 4, generator=torch.Generator().manual_seed(0))
    assert torch.equal(Mixture(1, INDEX)(x), x)
    assert torch.equal(Mixture(0, INDEX)(x), x[INDEX])


@pytest.mark.parametrize('dtype', [torch.float16, torch.bfloat16, torch.float32, torch.float64])
@pytest.mark.parametrize('lam', [0.5, torch.tensor(0.5), torch.tensor(0.5, dtype=torch.float64)])
def test_keeps_the_dtype(lam, dtype):
    x = torch.tensor([1.0, 2.0, 4.0], dtype=dtype)
    assert torch.equal(Mixture(lam, INDEX)(x), torch.tensor([2.5, 1.5, 3.0], dtype=dtype))


def test_lam_is_a_tensor_and_keeps_the_full_precision_of_a_float():
    mixture = Mixture(0.1, INDEX)
    assert isinstance(mixture.lam, torch.Tensor) and mixture.lam.shape == ()
    assert mixture.lam.item() == 0.1
    assert mixture.index.dtype == torch.int64


@pytest.mark.parametrize('index', [INDEX, tuple(INDEX), np.array(INDEX), torch.tensor(INDEX, dtype=torch.int32)])
def test_index_may_be_any_sequence_of_integers(index):
    x = torch.tensor([1.0, 2.0, 4.0])
    assert torch.equal(Mixture(0, index)(x), x[INDEX])


def test_keeps_channels_last():
    x = torch.randn(3, 4, 5, 5).contiguous(memory_format=torch.channels_last)
    assert Mixture(0.3, INDEX)(x).is_contiguous(memory_format=torch.channels_last)


def test_gradient_reaches_both_images_of_each_pair_with_their_shares():
    x = torch.randn(3, 4, dtype=torch.float64, requires_grad=True)
    weight = torch.randn(3, 4, dtype=torch.float64)
    (Mixture(0.3, INDEX)(x) * weight).sum().backward()
    torch.testing.assert_close(x.grad, matrix(0.3, INDEX).T @ weight)


def test_does_not_change_its_input():
    x = torch.randn(3, 4)
    before = x.clone()
    Mixture(0.3, INDEX)(x)
    assert torch.equal(x, before)


@pytest.mark.parametrize(
    'lam', [-0.1, 1.0001, float('nan'), float('inf'), torch.tensor([0.5]), torch.tensor([0.2, 0.3]), torch.tensor(-0.1)]
)
def test_refuses_lam_outside_0_to_1(lam):
    with pytest.raises(InputError, match=r'^Mixture got lam=[^\n]*: expected one number in \[0, 1\]$') as error:
        Mixture(lam, INDEX)
    value = lam.tolist() if isinstance(lam, torch.Tensor) else lam
    assert f'lam={value}' in str(error.value)


@pytest.mark.parametrize('index', [[0, 0, 1], [1, 2, 3], [-1, 0, 1], [[0, 1]], [0.0, 1.0], 0])
def test_refuses_an_index_that_is_no_permutation(index):
    with pytest.raises(InputError, match=r'^Mixture got index=[^\n]*: expected a permutation of range\(N\)$'):
        Mixture(0.5, index)


@pytest.mark.parametrize('n', [1, 2, 4])
def test_refuses_a_batch_of_another_size(n):
    """PyTorch alone would not: x[index] of a longer batch drops images, and a batch of one broadcasts."""
    with pytest.raises(InputError, match=rf'^Mixture of 3 samples got a tensor of shape \({n}, 5\)$'):
        Mixture(0.5, INDEX)(torch.zeros(n, 5))


def test_to_gives_the_same_mixture():
    mixture = Mixture(0.3, INDEX)
    moved = mixture.to(torch.device('cpu'))
    assert moved.lam.item() == 0.3 and moved.index.tolist() == INDEX
    assert mixture.to(torch.device('meta')).index.device.type == 'meta'


def test_repr_names_lam_and_index():
    assert repr(Mixture(0.25, INDEX)) == 'Mixture(lam=0.2500, index=[2, 0, 1])'


@pytest.mark.parametrize('alpha', [0.2, 0.4, 1.0, 5.0])
def test_drawn_lam_has_mean_and_variance_of_the_beta_distribution(alpha):
    rng = np.random.default_rng(0)
    lam = np.array([Mixture.draw(1, alpha, rng).lam.item() for _ in range(10_000)])
    variance = 1 / (4 * (2 * alpha + 1))
    # Five standard errors.
    assert abs(lam.mean() - 0.5) < 5 * np.sqrt(variance / len(lam))
    assert lam.var() == pytest.approx(variance, rel=0.05)
    assert lam.min() >= 0 and lam.max() <= 1


def test_drawn_index_is_uniform_over_permutations():
    rng = np.random.default_rng(0)
    draws = [tuple(Mixture.draw(3, 1.0, rng).index.tolist()) for _ in range(6000)]
    counts = np.array([draws.count(p) for p in set(draws)])
    assert len(counts) == 6
    assert (abs(counts - 1000) < 5 * np.sqrt(1000 * 5 / 6)).all()


def test_draw_is_determined_by_the_generator():
    a, b = (Mixture.draw(8, 0.4, np.random.default_rng(3)) for _ in range(2))
    assert a.lam.item() == b.lam.item() and a.index.tolist() == b.index.tolist()
    c = Mixture.draw(8, 0.4, np.random.default_rng(4))
    assert c.lam.item() != a.lam.item() and c.index.tolist() != a.index.tolist()
