"""Manifold Mixup against Mixup, plain training and a second forward written down here."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from mmpretrain.registry import MODELS
from mmpretrain.structures import DataSample

from mixskd_mm.errors import InputError
from mixskd_mm.models import Mixture

N = 6


def build(type='ManifoldMixupClassifier', **kwargs):
    torch.manual_seed(0)
    model = MODELS.build(
        dict(
            type=type,
            backbone=dict(type='ResNet_CIFAR', depth=18, stem_channels=8, base_channels=8, zero_init_residual=False),
            neck=dict(type='GlobalAveragePooling'),
            head=dict(type='LinearClsHead', num_classes=5, in_channels=64, loss=dict(type='CrossEntropyLoss')),
            **kwargs,
        )
    )
    return model.double()


@pytest.fixture
def batch():
    generator = torch.Generator().manual_seed(1)
    images = torch.randn(N, 3, 16, 16, generator=generator, dtype=torch.float64)
    return images, [DataSample().set_gt_label(i % 5) for i in range(N)]


def labels(samples):
    return torch.cat([sample.gt_label for sample in samples])


MIXTURE = Mixture(0.3, [2, 0, 1, 5, 3, 4])


def mix(x):
    return 0.3 * x + 0.7 * x[[2, 0, 1, 5, 3, 4]]


def mixed_loss(logits, y):
    """Two-term form, written down independently."""
    return 0.3 * F.cross_entropy(logits, y) + 0.7 * F.cross_entropy(logits, y[[2, 0, 1, 5, 3, 4]])


@pytest.mark.parametrize('place', ['input', 'stem', 1, 2, 3])
def test_the_activations_of_that_place_are_mixed_once(batch, place):
    images, samples = batch
    model = build(mix_at=[place])
    loss = model.loss(images, samples, MIXTURE)['loss']

    backbone = build().backbone
    x = mix(images) if place == 'input' else images
    x = backbone.relu(backbone.bn1(backbone.conv1(x)))
    for k, name in enumerate(backbone.res_layers):
        if place == ('stem' if k == 0 else k):
            x = mix(x)
        x = getattr(backbone, name)(x)
    logits = model.head.fc(x.mean((2, 3)))
    torch.testing.assert_close(loss, mixed_loss(logits, labels(samples)))


def test_lam_one_is_plain_training(batch):
    images, samples = batch
    expected = build('ImageClassifier').loss(images, samples)['loss']
    for place in ('stem', 2):
        loss = build(mix_at=[place]).loss(images, samples, Mixture(1.0, MIXTURE.index))['loss']
        torch.testing.assert_close(loss, expected)


def test_each_place_is_drawn_equally_often(batch, monkeypatch):
    images, samples = batch
    model = build().float()
    seen = []
    mixed_feature = model.mixed_feature

    def record(inputs, mixture, place):
        seen.append(place)
        return mixed_feature(inputs, mixture, place)

    monkeypatch.setattr(model, 'mixed_feature', record)
    torch.manual_seed(0)
    for _ in range(200):
        model.loss(images[:2].float(), samples[:2])
    counts = [seen.count(place) for place in ('stem', 1, 2, 3)]
    assert sum(counts) == 200
    assert all(30 <= count <= 70 for count in counts)


def test_prediction_mixes_nothing(batch):
    images, _ = batch
    model, plain = build().eval(), build('ImageClassifier').eval()
    torch.testing.assert_close(model(images, mode='tensor'), plain(images, mode='tensor'))
    assert set(model.state_dict()) == set(plain.state_dict())


def test_every_parameter_gets_a_gradient(batch):
    images, samples = batch
    model = build()
    model.loss(images, samples)['loss'].backward()
    assert all(parameter.grad is not None and parameter.grad.isfinite().all() for parameter in model.parameters())


@pytest.mark.parametrize('mix_at', [[], ['stem', 4], ['layer1'], [0], 1, [True], 'stem'])
def test_refuses_places_that_the_backbone_does_not_have(mix_at):
    with pytest.raises(InputError, match=r"mix_at=.*expected some of \['input', 'stem', 1, 2, 3\]"):
        build(mix_at=mix_at)


def test_refuses_a_preprocessor_that_does_not_draw():
    with pytest.raises(InputError, match='ClsDataPreprocessor: expected MixupDataPreprocessor'):
        build(data_preprocessor=dict(type='ClsDataPreprocessor'))
