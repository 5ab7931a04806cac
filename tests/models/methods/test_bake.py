"""BAKE: its terms against an independent computation, targets without gradient, batches of groups."""

import pytest
import tiny
import torch
from mmengine.registry import init_default_scope
from mmengine.runner import Runner
from small_networks import NETWORKS, build, gradients

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
    ce = -z.softmax(1).log()[range(n), labels].mean()
    return dict(loss_cls=ce, loss_kd=weight * T**2 * (Q * (Q / P).log()).sum() / n)


@pytest.mark.parametrize('backbone', NETWORKS.values(), ids=NETWORKS)
def test_terms_and_gradients_equal_an_independent_computation(backbone, make_batch):
    model = build('BAKEClassifier', backbone, temperature=3.0, omega=0.7, kd_weight=2.0).double()
    # Images of a new network are so similar that they have nothing to exchange.
    model.head.fc.weight.data *= 100
    images, samples = make_batch(6, dtype=torch.float64)
    labels = torch.cat([sample.gt_label for sample in samples])
    losses = model.loss(images, samples)
    expected = expected_terms(model, images, labels, T=3, omega=0.7, weight=2)
    assert losses.keys() == expected.keys() and losses['loss_kd'] > 0.1
    for term, value in expected.items():
        torch.testing.assert_close(losses[term], value, msg=lambda m, term=term: f'{term}: {m}')
        for mine, reference in zip(gradients(losses[term], model), gradients(value, model), strict=True):
            torch.testing.assert_close(mine, reference, msg=lambda m, term=term: f'{term}: {m}')


def test_both_terms_reach_the_whole_network(make_batch):
    model = build('BAKEClassifier')
    for loss in model.loss(*make_batch(4)).values():
        assert all(g is not None and g.any() for g in gradients(loss, model))


def test_without_kd_the_plain_network_is_left(make_batch):
    model, plain = build('BAKEClassifier', kd_weight=0), build('ImageClassifier')
    losses, expected = model.loss(*make_batch(4)), plain.loss(*make_batch(4))
    assert losses.keys() == {'loss_cls'} and torch.equal(losses['loss_cls'], expected['loss'])
    for mine, reference in zip(gradients(losses['loss_cls'], model), gradients(expected['loss'], plain), strict=True):
        assert torch.equal(mine, reference)


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
