"""Miss rate between samples (Figure 3b), by hand."""

import numpy as np
import pytest
import torch

from mixskd_mm.errors import InputError
from mixskd_mm.evaluation import miss_rates, missed
from mixskd_mm.evaluation.pairs import interpolate_pairs, pair_order


def test_a_miss_is_neither_label():
    predictions = torch.tensor([0, 1, 2, 3, 3])
    labels_i, labels_j = torch.tensor([0, 0, 0, 3, 0]), torch.tensor([1, 1, 1, 3, 0])
    assert missed(predictions, labels_i, labels_j).tolist() == [False, False, True, False, True]


def test_every_image_is_once_first_and_once_second():
    order = pair_order(50, seed=3)
    assert order[::2] == list(range(50)) and sorted(order[1::2]) == list(range(50))
    assert order[1::2] != list(range(50))
    assert order == pair_order(50, seed=3) and order != pair_order(50, seed=4)


def test_interpolation_of_pairs():
    x = torch.tensor([[1.0, 0.0], [3.0, 4.0], [10.0, 0.0], [20.0, 0.0]])
    assert interpolate_pairs(x, 0.25).tolist() == [[2.5, 3.0], [17.5, 0.0]]
    assert torch.equal(interpolate_pairs(x, 1.0), x[::2]) and torch.equal(interpolate_pairs(x, 0.0), x[1::2])
    with pytest.raises(InputError, match=r'lam=1.5: expected one number in \[0, 1\]'):
        interpolate_pairs(x, 1.5)


@pytest.mark.parametrize('batch_size', [1, 2, 5])
def test_three_pairs(by_brightness, batch_size):
    # The permutation of seed 0, so the pairs are (0, 200), (100, 0) and (200, 100).
    assert pair_order(3, seed=0)[1::2] == [2, 0, 1]
    classifier = by_brightness([0, 100, 200], [0, 1, 2], batch_size)
    # At 0.4 they become 120, 40 and 140: class 1, outside {0, 2}, then 0 and 1. At 0.1: 180, 10, 110. All right.
    rates = miss_rates(classifier, [0.0, 0.1, 0.4, 1.0], seed=0)
    assert rates == pytest.approx([0.0, 0.0, 100 / 3, 0.0])


def test_at_the_ends_it_is_the_clean_error_but_for_the_partners_label(by_brightness):
    values, labels = [0, 100, 200, 10, 190, 90], [0, 1, 2, 2, 1, 0]
    predictions, labels_i = np.array([0, 1, 2, 0, 2, 1]), np.array(labels)
    classifier = by_brightness(values, labels)
    partners = np.array(pair_order(6, seed=1)[1::2])
    labels_j = labels_i[partners]
    at_i = np.mean((predictions != labels_i) & (predictions != labels_j))
    at_j = np.mean((predictions[partners] != labels_i) & (predictions[partners] != labels_j))
    assert 0 < at_i < np.mean(predictions != labels_i) or 0 < at_j < np.mean(predictions != labels_i)
    assert miss_rates(classifier, [1.0, 0.0], seed=1) == pytest.approx([100 * at_i, 100 * at_j])


def test_pairs_of_one_label_are_kept(by_brightness):
    """Two images of class 1, one of which looks like 0: x~ is misclassified until lam passes one half."""
    classifier = by_brightness([0, 100], [1, 1])
    assert pair_order(2, seed=3)[1::2] == [1, 0]
    # (0, 100) and (100, 0): at 0.7 they are 30 and 70.
    assert miss_rates(classifier, [0.7, 0.3], seed=3) == [50.0, 50.0]
