"""What draws mixtures: distributions, boxes, and where the randomness comes from."""

import numpy as np
import pytest
import torch

from mixskd_mm.errors import InputError
from mixskd_mm.models import CutMix, MaskMixture, Mixup


@pytest.mark.parametrize('alpha', [0.2, 0.4, 1.0, 5.0])
def test_mixups_lam_has_mean_and_variance_of_the_beta_distribution(alpha):
    rng = np.random.default_rng(0)
    lam = np.array([Mixup(alpha).draw(1, None, rng).lam.item() for _ in range(10_000)])
    variance = 1 / (4 * (2 * alpha + 1))
    # Five standard errors.
    assert abs(lam.mean() - 0.5) < 5 * np.sqrt(variance / len(lam))
    assert lam.var() == pytest.approx(variance, rel=0.05)
    assert lam.min() >= 0 and lam.max() <= 1


@pytest.mark.parametrize('kind', [Mixup, CutMix])
def test_pairs_are_uniform_over_permutations(kind):
    rng = np.random.default_rng(0)
    draws = [tuple(kind(1.0).draw(3, (2, 2), rng).index.tolist()) for _ in range(6000)]
    counts = np.array([draws.count(p) for p in set(draws)])
    assert len(counts) == 6
    assert (abs(counts - 1000) < 5 * np.sqrt(1000 * 5 / 6)).all()


@pytest.mark.parametrize('kind', [Mixup, CutMix])
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


@pytest.mark.parametrize('kind', [Mixup, CutMix])
@pytest.mark.parametrize('alpha', [0, -0.2, float('nan'), float('inf'), '0.2', None, True])
def test_refuses_alpha(kind, alpha):
    with pytest.raises(InputError) as error:
        kind(alpha)
    assert str(error.value) == f'{kind.__name__} alpha={alpha!r}: expected a finite number > 0'
