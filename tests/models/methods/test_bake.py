"""BAKE: its terms against an independent computation, targets without gradient, batches of groups."""

import pytest
import tiny
import torch
from mmengine.registry import init_default_scope
from mmengine.runner import Runner
from small_classifiers import (
    NETWORKS,
    assert_baseline,
    assert_terms,
    build,
    cross_entropy,
    image_size,
    labels_of,
    reached,
    trained,
)

from mixskd_mm.errors import InputError


def expected_terms(model, images, labels, T, omega, weight):
    """CE and lambda T^2 KL; Q as the limit of Q <- omega W Q + (1 - omega) P."""
    n = len(images)
    h = model.backbone(images)[-1].mean((2, 3))
    z = model.head.fc(h)
    f = h / h.norm(dim=1, keepdim=True)
    W = torch.zeros(n, n, dtype=torch.float64)
    for i in range(n):
        others = [j for j in range(n) if j != i]
        similar = torch.stack([f[i] @ f[j] for j in others]).exp()
        W[i, others] = (similar / similar.sum()).detach()
    P = (z / T).softmax(1)
    Q = P
    for _ in range(200):
        Q = omega * W @ Q + (1 - omega) * P
    Q = Q.detach()
    return dict(loss_cls=cross_entropy(z, labels), loss_kd=weight * T**2 * (Q * (Q / P).log()).sum() / n)


@pytest.fixture
def batch(make_batch):
    return make_batch(4, dtype=torch.float64)


@pytest.mark.parametrize('backbone', NETWORKS.values(), ids=NETWORKS)
def test_terms_and_gradients_equal_an_independent_computation(backbone, make_batch):
    model = build('BAKEClassifier', backbone, temperature=3.0, omega=0.7, kd_weight=2.0)
    images, samples = make_batch(6, size=image_size(backbone), dtype=torch.float64)
    losses = model.loss(images, samples)
    expected = expected_terms(model, images, labels_of(samples), T=3, omega=0.7, weight=2)
    assert_terms(model, losses, expected)
    assert losses['loss_kd'] > 0.01


def test_both_terms_teach_the_whole_network(batch):
    model = build('BAKEClassifier')
    for loss in model.loss(*batch).values():
        assert reached(loss, model) == trained(model).keys()


def test_without_kd_the_baseline_is_left(batch):
    assert_baseline(build('BAKEClassifier', kd_weight=0), batch)


def test_the_default_is_the_originals_and_the_releases_target_a_setting():
    model, released = build('BAKEClassifier'), build('BAKEClassifier', temperature=3, bake_loss=dict(released=True))
    assert (model.bake_loss.temperature, model.bake_loss.omega, model.kd_weight) == (4, 0.5, 1)
    assert not model.bake_loss.released
    assert released.bake_loss.released and (released.bake_loss.temperature, released.bake_loss.omega) == (3, 0.5)


def test_training_on_groups_and_on_nothing_else(tmp_path):
    cfg = tiny.make_config(tmp_path, method='baseline')
    cfg.model.type = 'BAKEClassifier'
    cfg.train_dataloader.batch_sampler = dict(type='GroupBatchSampler', num_partners=1)
    logged = tiny.histories(tiny.train(cfg).message_hub)
    # 40 images, 5 of them per batch, 2 epochs.
    assert len(logged['train/loss_kd']) == 16 and all(value > 0 for value in logged['train/loss_kd'])

    init_default_scope('mmpretrain')
    cfg.train_dataloader.pop('batch_sampler')
    with pytest.raises(InputError) as error:
        build('BAKEClassifier').check_loader(Runner.build_dataloader(cfg.train_dataloader, seed=0))
    assert str(error.value) == (
        'train_dataloader gives batches of images: BAKEClassifier expects groups, so '
        "batch_sampler=dict(type='GroupBatchSampler')"
    )


def test_wrong_input_is_refused_in_one_line():
    for settings, message in (
        (dict(kd_weight=-1), 'BAKEClassifier kd_weight=-1: expected a finite number >= 0'),
        (dict(omega=1), 'BAKELoss omega=1: expected a number in [0, 1)'),
        (dict(temperature=0), 'BAKELoss temperature=0: expected a finite number > 0'),
    ):
        with pytest.raises(InputError) as error:
            build('BAKEClassifier', **settings)
        assert str(error.value) == message
