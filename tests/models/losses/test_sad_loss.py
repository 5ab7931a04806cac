import itertools

import golden
import pytest
import torch

from mixskd_mm.models import SADLoss
from mixskd_mm.models.losses import attention_map, cross_entropy, sad_loss


def maps(seed, shape=(2, 3, 4, 6)):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def upsampling(n):
    """(2n, n) matrix of bilinear upsampling by 2 without aligned corners: weights 3/4 and 1/4, clamped at the border."""
    matrix = torch.zeros(2 * n, n, dtype=torch.float64)
    for i in range(2 * n):
        matrix[i, i // 2] += 0.75
        matrix[i, min(max(i // 2 + (1 if i % 2 else -1), 0), n - 1)] += 0.25
    return matrix


@pytest.mark.parametrize('released', [False, True])
def test_loss_in_float64(released):
    shallow, deep = maps(0, (2, 3, 4, 6)), maps(1, (2, 5, 2, 3))
    rows, columns = upsampling(2), upsampling(3)
    if released:
        energies = (shallow**2).sum(1) / 3, ((rows @ deep @ columns.T) ** 2).sum(1) / 5
    else:
        energies = (shallow**2).sum(1), rows @ (deep**2).sum(1) @ columns.T
    (a, b) = (energy.exp() / energy.exp().sum((1, 2), keepdim=True) for energy in energies)
    torch.testing.assert_close(sad_loss(shallow, deep, released), ((a - b) ** 2).sum() / (2 * 4 * 6))


def test_a_map_sums_to_one_and_is_uniform_for_features_of_equal_magnitude():
    torch.testing.assert_close(attention_map(maps(0), (8, 5)).sum(1), torch.ones(2, dtype=torch.float64))
    signs = maps(0).sign()
    torch.testing.assert_close(attention_map(signs, (4, 6)), torch.full((2, 24), 1 / 24, dtype=torch.float64))


@pytest.mark.parametrize('released', [False, True])
def test_only_the_shallow_block_learns(released):
    shallow, deep = maps(0).requires_grad_(), maps(1, (2, 5, 2, 3)).requires_grad_()
    sad_loss(shallow, deep, released).backward()
    assert shallow.grad.any() and deep.grad is None


def test_float32_for_half_features_whose_squares_overflow():
    shallow = torch.full((1, 2, 2, 2), 3e4, dtype=torch.float16)
    loss = sad_loss(shallow, shallow[:, :, :1, :1])
    assert loss.dtype == torch.float32 and loss.item() == 0


def test_the_library_and_the_unofficial_port():
    """The port does not detach the deeper map; the first map teaches none, so its gradient is the same."""
    case = golden.case('sad', 'loss')
    x, hyper, values, grads = golden.tensors(case), case['hyper'], case['values'], case['grads']
    blocks = [x[f'F{i}'] for i in range(1, len(hyper['channels']) + 1)]
    pairs = list(itertools.pairwise(blocks))

    losses = [SADLoss(released=True)(*pair) for pair in pairs]
    ce, distillation = cross_entropy(x['z'], x['y']), hyper['lib_weight'] * sum(losses)
    golden.assert_value(torch.stack(losses), values['lib']['pair_losses_before_weight'])
    golden.assert_value(distillation, values['lib']['loss_div'])
    golden.assert_value(ce + distillation, values['lib']['total'])
    for block, expected in zip(blocks, values['lib']['attention_row0_of_image0']):
        height, width = block.shape[2:]
        golden.assert_value(attention_map(block, (height, width), released=True)[0, :width], expected)
    golden.assert_gradients(ce + distillation, x, grads['lib_total'])
    golden.assert_gradients(distillation, x, grads['lib_div_only'])

    losses = [SADLoss()(*pair) for pair in pairs]
    port = hyper['port_weight'] * sum(losses)
    golden.assert_value(torch.stack(losses), values['unofficial_port']['pair_losses_before_weight'])
    golden.assert_value(port, values['unofficial_port']['weighted_sum'])
    first = {'F1': grads['unofficial_port_distill_only']['F1']}
    golden.assert_gradients(port, x, first)
