"""What draws mixtures: distributions, boxes, and where the randomness comes from."""

import numpy as np
import pytest
import torch

from mixskd_mm.errors import InputError
from mixskd_mm.models import CutMix, FMix, MaskMixture, Mixture, Mixup, MixupDataPreprocessor


@pytest.mark.parametrize('alpha', [0.2, 0.4, 1.0, 5.0])
def test_mixups_lam_has_mean_and_variance_of_the_beta_distribution(alpha):
    rng = np.random.default_rng(0)
    lam = np.array([Mixup(alpha).draw(1, None, rng).lam.item() for _ in range(10_000)])
    variance = 1 / (4 * (2 * alpha + 1))
    # Five standard errors.
    assert abs(lam.mean() - 0.5) < 5 * np.sqrt(variance / len(lam))
    assert lam.var() == pytest.approx(variance, rel=0.05)
    assert lam.min() >= 0 and lam.max() <= 1


@pytest.mark.parametrize('kind', [Mixup, CutMix, FMix])
def test_pairs_are_uniform_over_permutations(kind):
    rng = np.random.default_rng(0)
    draws = [tuple(kind(1.0).draw(3, (2, 2), rng).index.tolist()) for _ in range(6000)]
    counts = np.array([draws.count(p) for p in set(draws)])
    assert len(counts) == 6
    assert (abs(counts - 1000) < 5 * np.sqrt(1000 * 5 / 6)).all()


@pytest.mark.parametrize('kind', [Mixup, CutMix, FMix])
def test_a_draw_is_determined_by_the_generator(kind):
    a, b, c = (kind(0.4).draw(8, (32, 32), np.random.default_rng(seed)) for seed in (3, 3, 4))
    assert torch.equal(a.lam, b.lam) and a.index.tolist() == b.index.tolist()
    assert c.lam.item() != a.lam.item() and c.index.tolist() != a.index.tolist()


def test_cutmix_cuts_one_box_and_lam_is_what_remains():
    rng = np.random.default_rng(0)
    for _ in range(200):
        mixture = CutMix().draw(4, (12, 20), rng)
        assert isinstance(mixture, MaskMixture) and mixture.mask.shape == (1, 1, 12, 20)
        box = 1 - mixture.mask[0, 0]
        rows, columns = box.amax(1), box.amax(0)
        assert torch.equal(box, rows[:, None] * columns[None])
        for line in (rows, columns):
            # Without gaps.
            assert (line.diff() > 0).sum() <= 1 and (line.diff() < 0).sum() <= 1
        assert mixture.lam.item() == pytest.approx(1 - box.mean().item())


def test_cutmix_boxes_have_the_share_that_was_drawn_unless_they_are_clipped():
    """Beta(1, 1) is uniform: without clipping the mean share of the box would be 1/2; a box of share s keeps
    (1 - s^(1/2) / 4)^2 of itself on average."""
    rng = np.random.default_rng(0)
    share = np.array([1 - CutMix().draw(1, (64, 64), rng).lam.item() for _ in range(4000)])
    s = np.linspace(0, 1, 100_001)
    expected = (s * (1 - np.sqrt(s) / 4) ** 2).mean()
    assert share.mean() == pytest.approx(expected, abs=5 * share.std() / np.sqrt(len(share)) + 0.01)


@pytest.mark.parametrize('kind', [Mixup, CutMix, FMix])
@pytest.mark.parametrize('alpha', [0, -0.2, float('nan'), float('inf'), '0.2', None, True])
def test_refuses_alpha(kind, alpha):
    with pytest.raises(InputError) as error:
        kind(alpha)
    assert str(error.value) == f'{kind.__name__} alpha={alpha!r}: expected a finite number > 0'


def test_fmix_masks_are_binary_with_the_share_that_was_drawn():
    rng = np.random.default_rng(0)
    lams = []
    for _ in range(300):
        mixture = FMix().draw(3, (9, 14), rng)
        assert mixture.mask.shape == (1, 1, 9, 14) and set(mixture.mask.unique().tolist()) <= {0.0, 1.0}
        assert mixture.lam.item() == pytest.approx(mixture.mask.mean().item())
        lams.append(mixture.lam.item())
    # Beta(1, 1) is uniform.
    assert np.mean(lams) == pytest.approx(0.5, abs=5 * np.sqrt(1 / 12 / 300))
    assert np.var(lams) == pytest.approx(1 / 12, rel=0.2)


def spectra(size, released):
    rng = np.random.default_rng(0)
    images = [FMix(released=released).grey_image(size, rng) for _ in range(400)]
    return np.mean([abs(np.fft.rfft2(image)) ** 2 for image in images], axis=0)


def test_fmix_images_have_low_frequencies_alike_in_all_directions():
    power = spectra((32, 32), released=False)
    # Columns 1, 2, 3 against rows 1, 2, 3; amplitudes fall as frequency^-3, so power as frequency^-6.
    for k in (1, 2, 3):
        assert power[0, k] == pytest.approx(power[k, 0], rel=0.35)
    assert power[0, 2] / power[0, 1] == pytest.approx(2**-6, rel=0.35)


def test_fmix_as_released_varies_along_one_axis_only_slowly():
    """Its columns' frequencies are 0 and 1, its rows' are not limited."""
    power = spectra((32, 32), released=True)
    assert power[:, 2:].max() < 1e-20 * power.max()
    assert power[5, :2].min() > 1e-12 * power.max()


def test_of_several_draws_one_is_chosen_per_batch_with_its_probability():
    preprocessor = MixupDataPreprocessor(
        mixture=[dict(type='Mixup', alpha=0.2, prob=0.25), dict(type='CutMix', alpha=1.0, prob=0.75)]
    )
    torch.manual_seed(0)
    drawn = [preprocessor.draw(2, (8, 8)) for _ in range(800)]
    assert all(type(mixture) is (Mixture, MaskMixture)[int(mixture.choice)] for mixture in drawn)
    share = np.mean([mixture.choice.item() for mixture in drawn])
    assert share == pytest.approx(0.75, abs=5 * np.sqrt(0.25 * 0.75 / 800))


def test_draws_without_probabilities_are_equally_likely():
    preprocessor = MixupDataPreprocessor(mixture=[dict(type='Mixup'), dict(type='CutMix'), dict(type='FMix')])
    assert preprocessor.mixture.probs == [1 / 3] * 3


@pytest.mark.parametrize('probs', [(0.5, 0.4), (1.5, -0.5), (0.5, None), ('0.5', 0.5), (float('nan'), 0.5), ()])
def test_refuses_what_are_no_probabilities(probs):
    configs = [dict(type='Mixup', prob=prob) if prob is not None else dict(type='Mixup') for prob in probs]
    with pytest.raises(InputError, match=r'^MixupDataPreprocessor mixture has the prob [^\n]*: expected numbers'):
        MixupDataPreprocessor(mixture=configs)


def test_which_of_several_mixed_a_batch_is_logged(build_mixskd, make_batch):
    model = build_mixskd(data_preprocessor=dict(mixture=[dict(type='Mixup', prob=0), dict(type='CutMix', prob=1)]))
    _, log_vars = model.parse_losses(model.loss(*make_batch()))
    assert log_vars['mixture'].item() == 1
    assert 0 <= log_vars['lam'].item() <= 1
