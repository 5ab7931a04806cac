"""Distances of interpolated to mixed outputs: 0 for linear networks, by hand for one that squares."""

import math

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from mixskd_mm.errors import InputError
from mixskd_mm.evaluation import LoadedClassifier, feature_gap, linearity, prediction_gap
from mixskd_mm.evaluation.linearity import features_and_logits
from mixskd_mm.evaluation.pairs import pair_order


class Square(nn.Module):
    def forward(self, x):
        return x**2


def test_feature_gap_is_eq_7():
    generator = torch.Generator().manual_seed(0)
    interpolated, mixed = torch.randn(2, 4, 3, 5, 5, generator=generator)
    distance, norm, count = feature_gap(interpolated, mixed)
    # 1/(HWC) ||.||^2, mean over the 4 pairs.
    expected = sum(torch.linalg.norm((a - b).flatten()) ** 2 / 75 for a, b in zip(interpolated, mixed)) / 4
    torch.testing.assert_close((distance / count).float(), expected)
    torch.testing.assert_close(norm.sqrt().float(), torch.linalg.norm(interpolated.flatten()))


def test_prediction_gap_has_both_directions():
    p_interpolated, p_mixed = torch.tensor([[0.7, 0.2, 0.1]]).double(), torch.tensor([[0.2, 0.2, 0.6]]).double()
    first, second = prediction_gap(p_interpolated.log() + 5, p_mixed.log() - 1)
    assert first.item() == pytest.approx(0.7 * math.log(0.7 / 0.2) + 0.1 * math.log(0.1 / 0.6))
    assert second.item() == pytest.approx(0.2 * math.log(0.2 / 0.7) + 0.6 * math.log(0.6 / 0.1))
    assert first.item() != pytest.approx(second.item(), rel=0.05)


def test_a_linear_network_is_exactly_linear(make_classifier):
    """Whole numbers and lam that are binary fractions: float32 is exact."""
    generator = torch.Generator().manual_seed(0)
    images = torch.randint(256, (5, 3, 4, 4), generator=generator, dtype=torch.uint8)
    stages = [nn.Conv2d(3, 4, 3, padding=1), nn.Conv2d(4, 2, 1), nn.AvgPool2d(2)]
    for parameter in nn.Sequential(*stages).parameters():
        parameter.data = torch.randint(-3, 4, parameter.shape, generator=generator).float()
    weight = torch.randint(-3, 4, (3, 8), generator=generator).float()
    classifier = make_classifier(
        images, [0, 1, 2, 0, 1], weight, torch.ones(3), stages, mean=[128.0] * 3, std=[2.0] * 3
    )
    measured = linearity(classifier, [0.0, 0.25, 0.5, 1.0], seed=0)
    assert list(measured['stages']) == ['phi_1', 'phi_2', 'F_K']
    for stage in measured['stages'].values():
        assert stage == dict(mean_squared=[0.0] * 4, relative=[0.0] * 4)
    assert measured['kl_interpolated_mixed'] == measured['kl_mixed_interpolated'] == [0.0] * 4


def test_a_square_by_hand(make_classifier):
    # Seed 3 exchanges the two images: the pairs are (1, 3) and (3, 1), in each channel.
    assert pair_order(2, seed=3) == [0, 1, 1, 0]
    images = torch.tensor([1, 3], dtype=torch.uint8).reshape(2, 1, 1, 1).expand(2, 3, 1, 1)
    # One logit is the first channel's square, the other 0.
    weight = torch.tensor([[1.0, 0.0, 0.0], [0.0, 0.0, 0.0]])
    classifier = make_classifier(images, [0, 1], weight, torch.zeros(2), (nn.Identity(), Square()))
    measured = linearity(classifier, [0.25, 1.0], seed=3)
    assert measured['stages']['phi_1'] == dict(mean_squared=[0.0, 0.0], relative=[0.0, 0.0])
    # F~ = 0.25 * 1 + 0.75 * 9 = 7 and F(x~) = 2.5^2 = 6.25; the other way round 3 and 1.5^2 = 2.25.
    last = measured['stages']['F_K']
    assert last['mean_squared'] == pytest.approx([0.75**2, 0.0])
    assert last['relative'] == pytest.approx([math.sqrt(2 * 0.75**2 / (7**2 + 3**2)), 0.0])
    assert measured['kl_interpolated_mixed'] == pytest.approx([(binary_kl(7, 6.25) + binary_kl(3, 2.25)) / 2, 0.0])
    assert measured['kl_mixed_interpolated'] == pytest.approx([(binary_kl(6.25, 7) + binary_kl(2.25, 3)) / 2, 0.0])


def binary_kl(a, b):
    """KL between the sigmoids of two numbers."""
    p, q = 1 / (1 + math.exp(-a)), 1 / (1 + math.exp(-b))
    return p * math.log(p / q) + (1 - p) * math.log((1 - p) / (1 - q))


@pytest.mark.parametrize('out_indices', [(3,), (1, 3)])
def test_features_are_the_stages_and_logits_the_classifiers(build_mixskd, make_batch, out_indices):
    model = build_mixskd(backbone=dict(out_indices=out_indices)).eval()
    images, _ = make_batch(3)
    features, logits = features_and_logits(model, images)
    assert {name: feature.shape[1] for name, feature in features.items()} == dict(phi_1=8, phi_2=16, phi_3=32, F_K=64)
    assert torch.equal(features['F_K'], model.extract_feat(images, 'backbone')[-1])
    assert torch.equal(logits, model(images)) and model.backbone.out_indices == out_indices


def test_a_backbone_without_stages_has_its_last_features(make_classifier):
    images = torch.tensor([1, 3], dtype=torch.uint8).reshape(2, 1, 1, 1).expand(2, 3, 1, 1)
    classifier = make_classifier(images, [0, 1], torch.eye(3), torch.zeros(3))
    classifier.model.backbone = Square()
    measured = linearity(classifier, [0.25], seed=3)
    assert list(measured['stages']) == ['F_K']
    assert measured['stages']['F_K']['mean_squared'] == pytest.approx([0.75**2])


def test_the_batch_size_does_not_matter(build_mixskd):
    generator = torch.Generator().manual_seed(0)
    images = torch.randint(256, (7, 3, 16, 16), generator=generator, dtype=torch.uint8)
    samples = [dict(inputs=image.float() / 64 - 2) for image in images]
    results = [linearity(LoadedClassifier('', build_mixskd(), samples, [0] * 7, size), [0.3], 0) for size in (1, 3, 14)]
    for other in results[1:]:
        assert other['kl_mixed_interpolated'] == pytest.approx(results[0]['kl_mixed_interpolated'], rel=1e-4)
        for name, stage in results[0]['stages'].items():
            assert other['stages'][name]['relative'] == pytest.approx(stage['relative'], rel=1e-4)
            assert 0 < stage['relative'][0] < 10


def test_a_dead_stage_is_named(make_classifier):
    images = torch.ones(2, 3, 1, 1, dtype=torch.uint8)

    class Dead(nn.Module):
        def forward(self, x):
            return F.relu(-x)

    classifier = make_classifier(images, [0, 1], torch.eye(3), torch.zeros(3), (Dead(), nn.Identity()))
    with pytest.raises(InputError, match=r'^by hand: phi_1 is 0 on all test images'):
        linearity(classifier, [0.5], seed=0)
