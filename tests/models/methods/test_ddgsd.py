"""DDGSD: two views teach each other; the whole loss and its gradients against an independent computation."""

import numpy as np
import pytest
import torch
from mmengine.config import Config
from mmengine.dataset import Compose, DefaultSampler, default_collate
from mmengine.registry import init_default_scope
from mmpretrain.registry import DATA_SAMPLERS
from small_classifiers import NETWORKS, assert_baseline, assert_terms, build, cross_entropy, image_size, kd, labels_of
from tiny import ROOT
from torch.utils.data import DataLoader

from mixskd_mm.datasets import collate_two_views
from mixskd_mm.errors import InputError

METHOD = 'DDGSDClassifier'


@pytest.fixture
def two_views(make_batch):
    """Function: 3 images in two views each, ``(6, 3, size, size)`` in float64, and their samples."""

    def two_views(size=16):
        first, samples = make_batch(3, size, dtype=torch.float64)
        second, _ = make_batch(3, size, seed=1, dtype=torch.float64)
        return torch.cat([first, second]), samples + [sample.clone() for sample in samples]

    return two_views


def expected_terms(model, images, labels, T=4.0, lam=1.0, mu=5e-4):
    h = model.backbone(images)[-1].mean((2, 3))
    z = h @ model.head.fc.weight.T + model.head.fc.bias
    n = len(images) // 2
    a, b = slice(0, n), slice(n, 2 * n)
    distance = sum((h[i] - h[n + i]) / n for i in range(n))
    return dict(
        loss_cls=(cross_entropy(z[a], labels[:n]) + cross_entropy(z[b], labels[:n])) / 2,
        loss_kd=lam * (kd(z[a], z[b], T) + kd(z[b], z[a], T)),
        loss_mmd=mu * (distance**2).sum(),
    )


@pytest.mark.parametrize('backbone', NETWORKS.values(), ids=NETWORKS)
def test_terms_and_gradients_equal_an_independent_computation(backbone, two_views):
    model = build(METHOD, backbone)
    images, samples = two_views(image_size(backbone))
    assert_terms(model, model.loss(images, samples), expected_terms(model, images, labels_of(samples)))


def test_weights_and_temperature(two_views):
    model = build(METHOD, temperature=3.0, kd_weight=0.5, mmd_weight=0.1)
    images, samples = two_views()
    expected = expected_terms(model, images, labels_of(samples), T=3.0, lam=0.5, mu=0.1)
    assert_terms(model, model.loss(images, samples), expected)


def test_the_mixskd_authors_loss(two_views):
    """A quarter of the sum of both cross-entropies, and the difference of two numbers."""
    model = build(METHOD, released=True)
    images, samples = two_views()
    expected = expected_terms(model, images, labels_of(samples))
    expected['loss_cls'] = expected['loss_cls'] / 2
    h_a, h_b = model.backbone(images)[-1].mean((2, 3)).chunk(2)
    expected['loss_mmd'] = 5e-4 * (h_a.sum() - h_b.sum()) ** 2 / h_a.numel() ** 2
    assert_terms(model, model.loss(images, samples), expected)


def test_equal_views_have_nothing_to_teach(make_batch):
    images, samples = make_batch(3, dtype=torch.float64)
    losses = build(METHOD).loss(torch.cat([images, images]), samples + samples)
    assert losses['loss_cls'] > 0
    assert losses['loss_kd'].item() == pytest.approx(0, abs=1e-12) and losses['loss_mmd'].item() < 1e-25


def test_the_order_of_the_views_does_not_matter(two_views):
    model = build(METHOD)
    images, samples = two_views()
    swapped = model.loss(torch.cat([images[3:], images[:3]]), samples)
    for term, value in model.loss(images, samples).items():
        torch.testing.assert_close(swapped[term], value)


@pytest.mark.parametrize(('weight', 'term'), [('kd_weight', 'loss_kd'), ('mmd_weight', 'loss_mmd')])
def test_a_term_without_weight_is_absent(weight, term, two_views):
    losses = build(METHOD, **{weight: 0}).loss(*two_views())
    assert losses.keys() == {'loss_cls', 'loss_kd', 'loss_mmd'} - {term}


def test_without_weights_it_is_the_baseline_on_both_views(two_views):
    assert_baseline(build(METHOD, kd_weight=0, mmd_weight=0), two_views())


def test_logged_accuracy_counts_all_views(two_views):
    model = build(METHOD)
    images, samples = two_views()
    predicted = model.backbone(images)[-1].mean((2, 3)) @ model.head.fc.weight.T + model.head.fc.bias
    model.loss(images, samples)
    right = predicted.argmax(1) == labels_of(samples)
    assert model.logs['top1_f'].item() == pytest.approx(100 * right.sum().item() / 6)


def test_other_batches_are_refused_in_one_line(two_views):
    model = build(METHOD)
    with pytest.raises(
        InputError, match=r'^train_dataloader gives batches of images: DDGSDClassifier expects two views,'
    ):
        model.check_loader(DataLoader([0, 1], collate_fn=default_collate))
    model.check_loader(DataLoader([0, 1], collate_fn=collate_two_views))
    images, samples = two_views()
    with pytest.raises(InputError, match=r'^DDGSDClassifier got a batch of 5 images: expected two views of each$'):
        model.loss(images[:5], samples[:5])


@pytest.mark.parametrize('argument', ['kd_weight', 'mmd_weight', 'temperature'])
def test_wrong_numbers_are_named(argument):
    with pytest.raises(InputError, match=f'^DDGSDClassifier {argument}=-1: expected a finite number'):
        build(METHOD, **{argument: -1})


class TwoImages:
    """Two images, of which no two pixels are alike: a view tells which one it shows and how it was cropped."""

    images = np.arange(1, 2 * 32 * 32 * 3 + 1).reshape(2, 32, 32, 3)

    def __init__(self, pipeline):
        self.pipeline = Compose(pipeline)

    def __len__(self):
        return 2

    def __getitem__(self, i):
        return self.pipeline(dict(img=self.images[i], gt_label=i))


def test_the_recipe_gives_two_views_of_each_image():
    cfg = Config.fromfile(ROOT / 'configs/cifar100/ddgsd_r18_cifar100.py')
    assert cfg.model.type == METHOD and cfg.train_dataloader.batch_size == 128
    init_default_scope('mmpretrain')
    dataset = TwoImages(cfg.train_dataloader.dataset.pipeline)
    sampler = DefaultSampler(dataset, shuffle=False, seed=0)
    batches = DATA_SAMPLERS.build(dict(cfg.train_dataloader.batch_sampler, sampler=sampler, batch_size=2))
    loader = DataLoader(dataset, batch_sampler=batches, collate_fn=default_collate)
    build(METHOD).check_loader(loader)
    torch.manual_seed(0)
    np.random.seed(0)
    (batch,) = loader
    assert batch['inputs'].shape == (4, 3, 32, 32)
    assert labels_of(batch['data_samples']).tolist() == [0, 1, 0, 1]
    for view, label in zip(batch['inputs'], (0, 1, 0, 1)):
        shown = view[view > 0]
        assert len(shown) > 0 and set(shown.tolist()) <= set(dataset.images[label].flatten().tolist())
    assert not torch.equal(batch['inputs'][:2], batch['inputs'][2:])
