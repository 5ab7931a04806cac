import numpy as np
import pytest
import torch

from mixskd_mm.errors import InputError
from mixskd_mm.models import MaskMixture, Mixture

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


def mask(n=3, size=4, seed=0):
    return torch.rand(n, 1, size, size, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


@pytest.mark.parametrize('n', [1, 3])
def test_a_mask_interpolates_images_pixel_by_pixel(n):
    x = torch.randn(3, 2, 4, 4, dtype=torch.float64)
    m, mixed = mask(n), MaskMixture(mask(n), INDEX)(x)
    for i, j in enumerate(INDEX):
        expected = m[i % n, 0] * x[i] + (1 - m[i % n, 0]) * x[j]
        torch.testing.assert_close(mixed[i], expected, rtol=1e-15, atol=1e-15)


def test_a_smaller_map_takes_the_mask_averaged_to_its_size():
    x = torch.randn(3, 5, 2, 2, dtype=torch.float64)
    m, mixed = mask(), MaskMixture(mask(), INDEX)(x)
    for i, j in enumerate(INDEX):
        for row in range(2):
            for column in range(2):
                share = m[i, 0, 2 * row : 2 * row + 2, 2 * column : 2 * column + 2].mean()
                expected = share * x[i, :, row, column] + (1 - share) * x[j, :, row, column]
                torch.testing.assert_close(mixed[i, :, row, column], expected)


@pytest.mark.parametrize('n', [1, 3])
def test_logits_take_the_mean_of_each_mask(n):
    logits = torch.randn(3, 7, dtype=torch.float64)
    mixture = MaskMixture(mask(n), INDEX)
    assert mixture.lam.shape == (() if n == 1 else (3,))
    for i, j in enumerate(INDEX):
        lam = mask(n)[i % n].mean()
        torch.testing.assert_close(mixture(logits)[i], lam * logits[i] + (1 - lam) * logits[j])


@pytest.mark.parametrize('dtype', [torch.float16, torch.bfloat16, torch.float32])
@pytest.mark.parametrize('shape', [(3,), (3, 4), (3, 2, 4, 4)])
def test_masks_keep_the_dtype(shape, dtype):
    """The lam of each image is float64: multiplied as it is it would promote."""
    mixture = MaskMixture(torch.full((3, 1, 4, 4), 0.5), INDEX)
    assert mixture(torch.ones(shape, dtype=dtype)).dtype == dtype


def test_only_one_lam_for_the_whole_image_commutes_with_pooling():
    x = torch.randn(3, 2, 4, 4, dtype=torch.float64)
    for mixture in (Mixture(0.3, INDEX), MaskMixture(mask(), INDEX)):
        same = torch.allclose(mixture(x).mean((2, 3)), mixture(x.mean((2, 3))))
        assert same == mixture.commutes_with_pooling


def test_to_moves_the_mask_too():
    moved = MaskMixture(mask(), INDEX).to(torch.device('meta'))
    assert {moved.mask.device.type, moved.lam.device.type, moved.index.device.type} == {'meta'}
    assert type(moved) is MaskMixture


@pytest.mark.parametrize(
    'wrong', [torch.ones(3, 4, 4), torch.ones(2, 1, 4, 4), torch.ones(3, 3, 4, 4), torch.ones(3, 1, 4, 4).long()]
)
def test_refuses_a_mask_of_another_shape_or_type(wrong):
    with pytest.raises(
        InputError, match=r'^MaskMixture got a mask of shape [^\n]*: expected floats, \(N, 1, H, W\) or'
    ):
        MaskMixture(wrong, INDEX)


@pytest.mark.parametrize('value', [-0.1, 1.1, float('nan')])
def test_refuses_a_mask_outside_0_to_1(value):
    wrong = mask()
    wrong[1, 0, 2, 2] = value
    with pytest.raises(InputError, match=r'^MaskMixture got a mask from [^\n]*: expected \[0, 1\]$'):
        MaskMixture(wrong, INDEX)
