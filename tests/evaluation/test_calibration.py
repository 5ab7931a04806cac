"""ECE and reliability diagram against plain float64 loops over the samples."""

import numpy as np
import pytest
import torch

from mixskd_mm.evaluation import calibration, expected_calibration_error, reliability


def by_hand(confidences, correct, bins):
    """ECE: a sample with confidence c is in bin floor(c * bins), 1 in the last."""
    total = 0.0
    for k in range(bins):
        inside = [n for n, c in enumerate(confidences) if min(int(c * bins), bins - 1) == k]
        if inside:
            accuracy = sum(correct[n] for n in inside) / len(inside)
            total += len(inside) / len(confidences) * abs(accuracy - sum(confidences[n] for n in inside) / len(inside))
    return total


@pytest.mark.parametrize('bins', [1, 10, 15])
def test_ece_is_the_weighted_gap_of_the_bins(bins):
    rng = np.random.default_rng(0)
    # Not on the edge of a bin, where rounding decides; two are exactly 1, one of them wrong.
    confidences = np.append(rng.uniform(0.2, 0.9999, 300), [1.0, 1.0])
    correct = np.append(rng.random(300) < confidences[:-2] ** 2, [True, False])
    assert np.abs(confidences[:-2] * bins - np.round(confidences[:-2] * bins)).min() > 1e-5
    tensors = torch.tensor(confidences), torch.tensor(correct)
    expected = by_hand(confidences.tolist(), correct.tolist(), bins)
    assert expected > 0.05
    assert expected_calibration_error(*tensors, bins) == pytest.approx(expected, abs=1e-6)
    # The diagram shows what the number is made of.
    bars = reliability(*tensors, bins)
    gaps = [
        count * abs(accuracy - confidence)
        for count, accuracy, confidence in zip(bars['counts'], bars['accuracy'], bars['confidence'], strict=True)
        if count
    ]
    assert sum(gaps) / len(confidences) == pytest.approx(expected, abs=1e-6)
    assert sum(bars['counts']) == 302 and len(bars['bin_edges']) == bins + 1


def test_a_confidence_of_1_is_in_the_last_bin():
    """Right at 0.95 and wrong at 1 cancel in one bin, up to the mean confidence."""
    confidences, correct = torch.tensor([0.95, 1.0]), torch.tensor([True, False])
    assert expected_calibration_error(confidences, correct, 10) == pytest.approx(0.975 - 0.5, abs=1e-6)
    bars = reliability(confidences, correct, 10)
    assert bars['counts'] == [0] * 9 + [2]
    assert bars['accuracy'] == [None] * 9 + [0.5] and bars['confidence'][-1] == pytest.approx(0.975)


def test_numbers_of_a_classifier(make_classifier):
    rng = np.random.default_rng(1)
    weight, bias = rng.normal(size=(4, 12)) / 100, rng.normal(size=4)
    images, labels = rng.integers(0, 256, size=(50, 3, 2, 2)), rng.integers(4, size=50)
    classifier = make_classifier(
        torch.tensor(images, dtype=torch.uint8), labels, *(torch.tensor(x, dtype=torch.float32) for x in (weight, bias))
    )
    z = images.reshape(50, 12) @ weight.T + bias
    p = np.exp(z) / np.exp(z).sum(axis=1, keepdims=True)
    correct = p.argmax(axis=1) == labels
    found = calibration(classifier, bins=5)
    assert found['top1'] == pytest.approx(100 * correct.mean())
    assert found['mean_confidence'] == pytest.approx(100 * p.max(axis=1).mean(), rel=1e-4)
    assert found['nll'] == pytest.approx(-np.log(p[range(50), labels]).mean(), rel=1e-4)
    assert found['ece'] == pytest.approx(100 * by_hand(p.max(axis=1).tolist(), correct.tolist(), 5), rel=1e-4)
    assert 10 < found['top1'] < 60
