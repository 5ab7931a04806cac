"""SAD: deeper attention maps teach; the whole loss and its gradients against an independent computation."""

import itertools

import pytest
import torch
from small_classifiers import (
    NETWORKS,
    assert_baseline,
    assert_terms,
    build,
    cross_entropy,
    image_size,
    labels_of,
    reached,
)

from mixskd_mm.errors import InputError
from mixskd_mm.models.stages import stage_outputs

METHOD = 'SADClassifier'


def upsampling(n, size):
    """(size, n) matrix that interpolates n values at the centres of ``size`` pixels, constant beyond the outermost."""
    positions = ((torch.arange(size, dtype=torch.float64) + 0.5) * n / size - 0.5).clamp(0, n - 1)
    return (1 - (positions[:, None] - torch.arange(n)).abs()).clamp(min=0)


def resize(x, side):
    matrix = upsampling(x.shape[-1], side)
    return matrix @ x @ matrix.T


def attention(feature, side, released):
    """Of one image, ``(C, H, H)``: its map of ``side`` squared pixels."""
    energy = (resize(feature, side) ** 2).mean(0) if released else resize((feature**2).sum(0), side)
    return (energy - energy.max()).exp() / (energy - energy.max()).exp().sum()


def expected_terms(model, images, labels, weight=0.1, released=False):
    stages = stage_outputs(model.backbone, images)
    total = 0.0
    for shallow, deep in itertools.pairwise(stages):
        side = shallow.shape[-1]
        for n in range(len(images)):
            a, b = attention(shallow[n], side, released), attention(deep[n].detach(), side, released)
            total = total + ((a - b) ** 2).sum() / (side**2 * len(images))
    z = model.head.fc(stages[-1].mean((2, 3)))
    return dict(loss_cls=cross_entropy(z, labels), loss_attention=weight * total)


@pytest.fixture
def batch(make_batch):
    return make_batch(3, dtype=torch.float64)


@pytest.mark.parametrize('released', [False, True])
@pytest.mark.parametrize('backbone', NETWORKS.values(), ids=NETWORKS)
def test_terms_and_gradients_equal_an_independent_computation(backbone, released, make_batch):
    """The MixSKD authors' loss by one argument, which brings its weight."""
    model = build(METHOD, backbone, released=released)
    images, samples = make_batch(3, image_size(backbone), dtype=torch.float64)
    expected = expected_terms(model, images, labels_of(samples), 1000.0 if released else 0.1, released)
    assert_terms(model, model.loss(images, samples), expected)


@pytest.mark.parametrize('released', [False, True])
def test_weight(released, batch):
    model = build(METHOD, attention_weight=30.0, released=released)
    expected = expected_terms(model, batch[0], labels_of(batch[1]), 30.0, released)
    assert_terms(model, model.loss(*batch), expected)


def test_the_last_stage_and_the_classifier_teach_and_do_not_learn(batch):
    model = build(METHOD, released=True)
    names = reached(model.loss(*batch)['loss_attention'], model)
    assert not any(name.startswith(('head.', 'backbone.layer4.')) for name in names)
    assert {f'backbone.layer{k}.1.conv2.weight' for k in (1, 2, 3)} <= names


def test_nothing_is_added_to_the_network():
    model = build(METHOD)
    assert model.state_dict().keys() == model.to_plain().state_dict().keys()


def test_without_weight_it_is_the_baseline(batch):
    model = build(METHOD, attention_weight=0)
    assert model.loss(*batch).keys() == {'loss_cls'}
    assert_baseline(model, batch)


@pytest.mark.parametrize('weight', [-1, True, float('nan'), '0.1'])
def test_wrong_weights_are_named(weight):
    with pytest.raises(InputError, match=r'^SADClassifier attention_weight=.*: expected a finite number >= 0$'):
        build(METHOD, attention_weight=weight)


def test_a_backbone_without_stages_is_refused_in_one_line():
    with pytest.raises(InputError, match=r'^backbone LeNet5 cannot be cut into stages: it has no res_layers'):
        build(METHOD, dict(type='LeNet5', num_classes=-1))
