"""The golden masks, losses and flags, and what must hold of any batch."""

import itertools

import golden
import numpy as np
import pytest
import torch

from mixskd_mm.errors import InputError
from mixskd_mm.supermix import PRESETS, MaskSettings, optimise_masks, supermix
from mixskd_mm.supermix.masks import divergence, mix, newton_step, render_masks, smoothing_matrix, sparsity


def after(case, steps):
    """The batch after so many steps, whatever its success."""
    return optimise_masks(case.supervisor, case.sources, case.targets, case.settings(steps))


def flags(case, successful):
    """Of the samples whose sources have different classes."""
    return [b for b in successful if b in case.distinct]


def test_classes_and_targets_are_those_of_the_original_code(case):
    assert case.classes.tolist() == case.values['predicted_class']
    golden.assert_value(case.targets, case.values['target_q'])


@pytest.mark.parametrize('step', [1, 2, 3])
def test_a_step_is_that_of_the_original_code(case, step):
    reference, hyper = case.values['iterations'][str(step)], case.hyper
    size = tuple(case.images.shape[-2:])
    if step == 1:
        before = torch.zeros(hyper['B'], hyper['K'], hyper['w'], hyper['w'])
        done = []
    else:
        before = after(case, step - 1).variables
        done = case.values['iterations'][str(step - 1)]['successful']
    active = torch.tensor([b not in done for b in range(hyper['B'])])

    # Loss and gradient.
    variables = before.clone().requires_grad_()
    masks = render_masks(variables, size)
    kl = divergence(case.supervisor(mix(masks, case.sources)), case.targets)
    losses = kl + hyper['lambda_s'] * sparsity(masks)
    golden.assert_value(kl, reference['kl_before_step'], 1e-3)
    golden.assert_value(sparsity(masks), reference['sparsity_before_step'], 1e-3)
    golden.assert_value(losses[active].sum(), reference['loss_before_step'], 1e-3)
    (gradients,) = torch.autograd.grad(losses[active].sum(), variables)
    smoothing = smoothing_matrix(hyper['w'], hyper['sigma'])
    golden.assert_value(gradients.norm(), reference['grad_norm'], 1e-3)
    golden.assert_value((smoothing @ gradients @ smoothing.T).norm(), reference['smoothed_grad_norm'], 1e-3)
    _, lengths = newton_step(before, losses.detach(), gradients, smoothing)
    golden.assert_value(lengths[active], [t for t in reference['step_length'] if t is not None], 1e-3)

    # Masks and images after it.
    result = after(case, step)
    golden.assert_value(result.variables[0, 0, 0], reference['mask_variable_row0'], 1e-3)
    golden.assert_value(result.variables.flatten(1).norm(dim=1), reference['mask_variable_norm'], 1e-3)
    golden.assert_value(result.masks[:, 0].flatten(1).norm(dim=1), reference['rendered_norm'], 1e-3)
    golden.assert_value(result.masks[0, 0].diagonal(), reference['rendered_image0_k0_diag'], 1e-3)
    golden.assert_value(result.images.flatten(1).norm(dim=1), reference['mixed_norm'], 1e-3)
    golden.assert_value(result.images[0, 0, 0], reference['mixed_image0_channel0_row0'], 1e-3)
    assert flags(case, result.successful.nonzero()[:, 0].tolist()) == flags(case, reference['successful'])
    golden.assert_value(result.images[result.successful].norm(), reference['returned_mixed_norm'], 1e-3)


def test_a_run_ends_where_the_original_code_ends(case):
    reference = case.values['full_run']
    result = optimise_masks(
        case.supervisor, case.sources, case.targets, case.settings(reference['max_iter'], reference['tol_percent'])
    )
    assert result.steps.max() == reference['loops']
    assert flags(case, result.successful.nonzero()[:, 0].tolist()) == flags(case, reference['successful'])
    golden.assert_value(result.images[result.successful].norm(), reference['mixed_norm'], 1e-3)


def test_a_run_without_tolerance_ends_after_the_last_iteration(case):
    reference = case.values['run_to_12']
    result = after(case, reference['max_iter'])
    assert result.steps.max() == reference['loops'] == 12
    assert flags(case, result.successful.nonzero()[:, 0].tolist()) == flags(case, reference['successful'])


def test_success_ends_the_work_on_a_sample(case):
    case.supervisor.seen.clear()
    runs = [after(case, steps) for steps in (1, 2, 3)]
    for one, later in itertools.pairwise(runs):
        done = one.successful
        assert done.any() and later.successful[done].all()
        assert torch.equal(one.variables[done], later.variables[done])
        assert torch.equal(one.steps[done], later.steps[done])
        assert (later.steps[~done] == one.steps[~done] + 1).all()
    # Three forwards with gradients, and one to see the last step's success; fewer samples each time.
    last = case.supervisor.seen[-4:]
    remaining = [int((~run.successful).sum()) for run in runs]
    assert last == [case.hyper['B'], case.hyper['B'], *remaining[:2]]


def test_masks_share_each_pixel_and_images_follow_them(small_case):
    result = after(small_case, 3)
    torch.testing.assert_close(result.masks.sum(1), torch.ones(8, 16, 16, dtype=torch.float64))
    expected = sum(result.masks[:, k, None] * small_case.images[small_case.indices[:, k]] for k in range(2))
    torch.testing.assert_close(result.images, expected)
    torch.testing.assert_close(result.logits, small_case.supervisor(expected))
    top2 = result.logits.topk(2).indices.sort(1).values
    sources = small_case.classes[small_case.indices].sort(1).values
    assert result.successful.tolist() == (top2 == sources).all(1).tolist()


def test_sources_of_one_class_never_succeed(small_case):
    targets = torch.zeros(8, 6, dtype=torch.float64)
    targets[:, 2] = 1
    result = optimise_masks(small_case.supervisor, small_case.sources, targets, small_case.settings(3, 70.0))
    assert not result.successful.any() and (result.steps == 3).all()


def test_one_source_stays_as_it_is(small_case):
    settings = MaskSettings(num_sources=1, mask_size=4, max_iterations=2, tolerance=0.0)
    result = supermix(small_case.supervisor, small_case.images, np.random.default_rng(0), settings=settings)
    torch.testing.assert_close(result.optimised.images, small_case.images)
    assert result.optimised.successful.all() and (result.optimised.steps == 1).all()


def run(case, seed, **kwargs):
    return supermix(case.supervisor, case.images, np.random.default_rng(seed), settings=case.settings(2), **kwargs)


def test_a_batch_depends_on_the_seed_alone(case):
    one, same, other = run(case, 0), run(case, 0), run(case, 1)
    assert torch.equal(one.optimised.images, same.optimised.images) and torch.equal(one.weights, same.weights)
    assert not torch.equal(one.weights, other.weights)
    torch.testing.assert_close(one.weights.sum(1), torch.ones(case.hyper['B']))


def test_shares_have_the_dirichlet_distribution(small_case):
    images = small_case.images.repeat(125, 1, 1, 1)
    settings = MaskSettings(num_sources=2, mask_size=1, alpha=3.0, max_iterations=1)
    weights = supermix(small_case.supervisor, images, np.random.default_rng(0), settings=settings).weights[:, 0]
    # Beta(3, 3): mean 1/2, variance 1/28; five standard deviations of 1,000 draws.
    assert abs(weights.mean() - 1 / 2) < 5 * (1 / 28 / 1000) ** 0.5
    assert abs(weights.var() - 1 / 28) < 5 * (1 / 28) * (2 / 1000) ** 0.5


def test_classes_are_the_labels_or_what_the_supervisor_sees(case):
    labels = (case.classes + 1) % case.hyper['C']
    assert torch.equal(run(case, 0).classes, case.classes[case.indices])
    labelled = run(case, 0, labels=labels)
    assert torch.equal(labelled.classes, labels[case.indices])
    assert not torch.equal(labelled.optimised.variables, run(case, 0).optimised.variables)


def test_the_supervisor_is_not_changed():
    torch.manual_seed(0)
    conv, norm = torch.nn.Conv2d(3, 4, 3), torch.nn.BatchNorm2d(4)
    network = torch.nn.Sequential(conv, norm, torch.nn.AdaptiveAvgPool2d(1), torch.nn.Flatten()).eval()
    before = {name: value.clone() for name, value in network.state_dict().items()}
    images = torch.randn(4, 3, 8, 8)
    supermix(network, images, np.random.default_rng(0), settings=MaskSettings(mask_size=4, max_iterations=3))
    assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())
    assert all(parameter.grad is None for parameter in network.parameters())


def test_presets_are_those_of_the_supplement_and_the_author():
    cifar, imagenet = PRESETS['cifar'], PRESETS['imagenet']
    assert (cifar.sigma, cifar.mask_size, cifar.tolerance) == (1.0, 8, 10.0)
    assert (imagenet.sigma, imagenet.mask_size, imagenet.tolerance) == (2.0, 16, 50.0)
    for preset in (cifar, imagenet):
        assert (preset.num_sources, preset.sparsity_weight, preset.alpha, preset.max_iterations) == (2, 25.0, 3.0, 50)


@pytest.mark.parametrize(
    ('settings', 'message'),
    [
        (dict(num_sources=0), 'SuperMix num_sources=0: expected an integer >= 1'),
        (dict(mask_size=8.0), 'SuperMix mask_size=8.0: expected an integer >= 1'),
        (dict(sigma=0.1), 'SuperMix sigma=0.1: expected 0 or a number >= 0.2, since the kernel is 5 sigma'),
        (dict(alpha=0), 'SuperMix alpha=0: expected a finite number > 0'),
        (dict(sparsity_weight=-1), 'SuperMix sparsity_weight=-1: expected a finite number >= 0'),
        (dict(tolerance=101), 'SuperMix tolerance=101: expected a percentage from 0 to 100'),
    ],
)
def test_wrong_settings_end_in_one_line(settings, message):
    with pytest.raises(InputError) as error:
        MaskSettings(**settings)
    assert str(error.value) == message


def test_too_few_images_or_classes_end_in_one_line(small_case):
    rng = np.random.default_rng(0)
    with pytest.raises(InputError, match=r'^SuperMix got 1 images: expected at least num_sources=2$'):
        supermix(small_case.supervisor, small_case.images[:1], rng)
    with pytest.raises(InputError, match=r'^SuperMix num_sources=7: expected at most 6, the number of classes$'):
        supermix(small_case.supervisor, small_case.images, rng, settings=MaskSettings(num_sources=7))
