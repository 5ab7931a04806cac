import golden
import pytest
import torch
import torch.nn.functional as F

from mixskd_mm.supermix.masks import (
    allowed_failures,
    divergence,
    gaussian_kernel,
    mix,
    newton_step,
    render_masks,
    smoothing_matrix,
    soft_targets,
    source_indices,
    sparsity,
    succeeded,
)


def test_smoothing_is_that_of_the_original_code(case):
    reference, w, sigma = case.values['smoothing'], case.hyper['w'], case.hyper['sigma']
    golden.assert_value(gaussian_kernel(sigma), reference['kernel'])
    impulse = torch.zeros(w, w)
    impulse[tuple(reference['impulse_at'])] = 1
    smoothing = smoothing_matrix(w, sigma)
    row = reference['impulse_response']
    golden.assert_value((smoothing @ impulse @ smoothing.T), row)


def test_without_sigma_nothing_is_smoothed():
    assert torch.equal(smoothing_matrix(5, 0), torch.eye(5))


def test_masks_are_upsampled_before_the_sigmoid():
    variables = torch.randn(2, 3, 5, 5, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    expected = F.interpolate(variables, size=(12, 20), mode='bilinear', align_corners=False).sigmoid()
    expected = expected / expected.sum(1, keepdim=True)
    torch.testing.assert_close(render_masks(variables, (12, 20)), expected, rtol=1e-6, atol=1e-7)
    assert torch.equal(render_masks(torch.zeros(1, 4, 3, 3), (8, 8)), torch.full((1, 4, 8, 8), 0.25))


def test_sources_are_cyclic_shifts_and_targets_add_up():
    assert source_indices(4, 3).tolist() == [[0, 1, 2], [1, 2, 3], [2, 3, 0], [3, 0, 1]]
    targets = soft_targets(torch.tensor([[0, 2], [1, 1]]), torch.tensor([[0.25, 0.75], [0.5, 0.5]]), 3)
    assert targets.tolist() == [[0.25, 0, 0.75], [0, 1, 0]]


def test_losses_in_float64():
    generator = torch.Generator().manual_seed(0)
    masks = torch.rand(2, 3, 4, 4, generator=generator, dtype=torch.float64)
    logits = torch.randn(2, 5, generator=generator, dtype=torch.float64)
    targets = torch.tensor([[0, 0.25, 0, 0.75, 0], [0, 0, 1, 0, 0]], dtype=torch.float64)
    p = logits.softmax(1)
    first = 0.25 * (0.25 / p[0, 1]).log() + 0.75 * (0.75 / p[0, 3]).log()
    torch.testing.assert_close(divergence(logits, targets), torch.stack([first, -p[1, 2].log()]))
    torch.testing.assert_close(sparsity(masks)[1], (masks[1] - masks[1] ** 2).sum() / 48)
    sources = torch.randn(2, 3, 3, 4, 4, generator=generator, dtype=torch.float64)
    expected = (masks[1, :, None] * sources[1]).sum(0)
    torch.testing.assert_close(mix(masks, sources)[1], expected)


def test_a_step_solves_a_linear_loss():
    """Without smoothing t = L / ||g||^2, Newton's step, after which a linear L is 0."""
    generator = torch.Generator().manual_seed(0)
    variables, slope = torch.randn(2, 3, 2, 4, 4, generator=generator, dtype=torch.float64)
    losses = (variables * slope).sum((1, 2, 3)) + 10
    moved, lengths = newton_step(variables, losses, slope, torch.eye(4, dtype=torch.float64))
    torch.testing.assert_close(lengths, losses / slope.square().sum((1, 2, 3)))
    torch.testing.assert_close((moved * slope).sum((1, 2, 3)) + 10, torch.zeros(3, dtype=torch.float64))


@pytest.mark.parametrize(('scale', 'length'), [(1e-6, 2000.0), (1e6, 1e-4)])
def test_step_lengths_are_bounded(scale, length):
    gradients = torch.full((1, 1, 2, 2), scale)
    moved, lengths = newton_step(torch.zeros(1, 1, 2, 2), torch.ones(1), gradients, torch.eye(2))
    assert lengths.item() == pytest.approx(length)
    torch.testing.assert_close(moved, -length * gradients)


def test_success_is_the_same_set_of_classes_in_any_order():
    logits = torch.tensor([[3.0, 2.0, 1.0, 0.0]] * 4)
    targets = torch.tensor([[0.2, 0.8, 0, 0], [0.8, 0.2, 0, 0], [0.5, 0, 0.5, 0], [1, 0, 0, 0]])
    assert succeeded(logits, targets, 2).tolist() == [True, True, False, False]


def test_the_tolerance_is_a_percentage_of_the_batch():
    assert [allowed_failures(8, tolerance) for tolerance in (0, 10, 50, 70, 100)] == [0, 0, 4, 5, 8]
