"""k nearest neighbours and linear probe against float64 loops and scikit-learn."""

import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression
from torch import nn

from mixskd_mm.evaluation import features, knn_predictions, linear_probe


@pytest.fixture
def samples():
    """Features of 60 and 40 samples of 3 classes that overlap."""
    rng = np.random.default_rng(0)
    centres, labels = rng.normal(size=(3, 5)), rng.integers(3, size=100)
    x = centres[labels] + 0.8 * rng.normal(size=(100, 5))
    return x[:60], labels[:60], x[60:], labels[60:]


@pytest.mark.parametrize(('k', 'temperature'), [(1, 0.07), (7, 0.07), (60, 0.5)])
def test_neighbours_vote_by_their_similarity(samples, k, temperature):
    train, labels, test, _ = samples
    expected = []
    for x in test:
        cosine = [x @ y / np.linalg.norm(x) / np.linalg.norm(y) for y in train]
        votes = [0.0, 0.0, 0.0]
        for n in sorted(range(60), key=lambda n: -cosine[n])[:k]:
            votes[labels[n]] += np.exp(cosine[n] / temperature)
        expected.append(int(np.argmax(votes)))
    tensors = (torch.tensor(one) for one in (train, labels, test))
    assert knn_predictions(*tensors, 3, k, temperature).tolist() == expected
    assert len(set(expected)) > 1


def test_neighbours_of_all_weights_differ_from_those_of_one(samples):
    train, labels, test, _ = map(torch.tensor, samples)
    one, all_ = (knn_predictions(train, labels, test, 3, k, 0.5) for k in (1, 60))
    assert (one != all_).any()


def test_the_linear_probe_is_logistic_regression(samples):
    train, labels, _, _ = samples
    weight, bias = linear_probe(torch.tensor(train), torch.tensor(labels), 3)
    reference = LogisticRegression(C=1.0, tol=1e-10, max_iter=10_000).fit(train, labels)
    np.testing.assert_allclose(weight, reference.coef_, atol=1e-4)
    # Biases are determined up to a constant, which the classes share.
    np.testing.assert_allclose(bias - bias.mean(), reference.intercept_ - reference.intercept_.mean(), atol=1e-4)
    assert not weight.requires_grad and np.abs(reference.coef_).max() > 0.5


def test_features_are_the_pooled_last_map(make_classifier):
    rng = np.random.default_rng(0)
    images = torch.tensor(rng.integers(256, size=(5, 3, 2, 4)), dtype=torch.uint8)
    stages = [nn.Identity(), nn.Conv2d(3, 6, 1)]
    classifier = make_classifier(
        images, [0] * 5, torch.zeros(2, 48), torch.zeros(2), stages, mean=[9.0] * 3, std=[7.0] * 3
    )
    x = (images.double().numpy() - 9) / 7
    w, b = (one.detach().double().numpy() for one in (stages[1].weight[:, :, 0, 0], stages[1].bias))
    expected = np.einsum('nchw,dc->nd', x, w) / 8 + b
    np.testing.assert_allclose(features(classifier).double(), expected, rtol=1e-4, atol=1e-4)
