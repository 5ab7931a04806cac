"""Log-probabilities on common misclassified samples (Figure 3a), by hand."""

import math

import pytest
import torch

from mixskd_mm.evaluation import common_errors, histograms, predict, score


def test_score():
    logits = torch.log(torch.tensor([[0.5, 0.2, 0.3], [0.1, 0.1, 0.8]])) + torch.tensor([[3.0], [-40.0]])
    predicted, log_p_predicted, log_p_true = score(logits, torch.tensor([1, 2]))
    assert predicted.tolist() == [0, 2]
    assert log_p_predicted.tolist() == pytest.approx([math.log(0.5), math.log(0.8)], abs=1e-5)
    assert log_p_true.tolist() == pytest.approx([math.log(0.2), math.log(0.8)], abs=1e-5)


def test_a_vanishing_probability_has_a_logarithm():
    scores = score(torch.tensor([[0.0, 1000.0]]), torch.tensor([0]))
    assert scores.log_p_true.item() == -1000 and scores.log_p_predicted.item() == 0


def test_common_errors_are_wrong_in_both_and_need_not_agree():
    labels = torch.tensor([0, 1, 2, 3, 4])
    wrong = common_errors(labels, torch.tensor([0, 0, 0, 3, 0]), torch.tensor([1, 1, 0, 3, 1]))
    assert wrong.tolist() == [False, False, True, False, True]


def test_histograms_share_edges_and_hold_every_value():
    one, other = torch.tensor([-0.2, -1.7, -2.5]).double(), torch.tensor([-0.0, -0.9]).double()
    edges, counts = histograms([one, other], bins=6)
    assert edges == pytest.approx([-3, -2.5, -2, -1.5, -1, -0.5, 0])
    # NumPy's bins contain their left edge, the last one both.
    assert counts == [[0, 1, 1, 0, 0, 1], [0, 0, 0, 0, 1, 1]]


def test_histogram_of_certainty():
    edges, counts = histograms([torch.zeros(2).double(), torch.zeros(1).double()])
    assert edges[0] == -1 and edges[-1] == 0 and len(edges) == 31
    assert [sum(count) for count in counts] == [2, 1] and counts[0][-1] == 2


def test_predict_goes_through_all_images_in_order(by_brightness):
    classifier = by_brightness([0, 100, 200, 10, 190], [0, 1, 2, 2, 0])
    scores = predict(classifier)
    assert scores.predicted.tolist() == [0, 1, 2, 0, 2]
    # Logits c v - c^2 / 2: at v = 10 they are 0, -4000 and -18000.
    assert scores.log_p_true[3].item() == pytest.approx(-18000, rel=1e-6)
    assert scores.log_p_predicted[3].item() == 0
