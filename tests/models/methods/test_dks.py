"""DKS: all classifiers teach each other; the whole loss and its gradients against an independent computation."""

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
    kd,
    labels_of,
    reached,
)

from mixskd_mm.errors import InputError
from mixskd_mm.models.stages import stage_outputs

METHOD = 'DKSClassifier'


def all_logits(model, images):
    """Of the network, then of its branches, from the same forward as in training."""
    stages = stage_outputs(model.backbone, images)
    z = [model.head.fc(stages[-1].mean((2, 3)))]
    for branch in model.branches:
        x = stages[branch.start - 1]
        for stage in branch.stages.children():
            x = stage(x)
        z.append(branch.head.fc(x.mean((2, 3))))
    return z


def smoothed(z):
    return (z.softmax(1) + 1e-8) / (1 + 1e-8 * z.shape[1])


def smoothed_kl(student, teacher):
    p, q = smoothed(student), smoothed(teacher.detach())
    return sum((q[n] * (q[n].log() - p[n].log())).sum() for n in range(len(q))) / len(q)


def expected_terms(model, images, labels, pair=smoothed_kl):
    z = all_logits(model, images)
    return dict(
        loss_cls=cross_entropy(z[0], labels),
        loss_cls_branch=sum(cross_entropy(branch, labels) for branch in z[1:]),
        loss_pair=sum(pair(student, teacher) for student, teacher in itertools.permutations(z, 2)),
    )


@pytest.fixture
def batch(make_batch):
    return make_batch(3, dtype=torch.float64)


@pytest.mark.parametrize('backbone', NETWORKS.values(), ids=NETWORKS)
def test_terms_and_gradients_equal_an_independent_computation(backbone, make_batch):
    model = build(METHOD, backbone)
    images, samples = make_batch(3, image_size(backbone), dtype=torch.float64)
    assert len(model.branches) == 2
    assert_terms(model, model.loss(images, samples), expected_terms(model, images, labels_of(samples)))


def test_the_mixskd_authors_pairs(batch):
    model = build(METHOD, pair_loss=dict(type='KDLoss', temperature=4.0))
    images, samples = batch
    expected = expected_terms(model, images, labels_of(samples), lambda student, teacher: kd(student, teacher, 4.0))
    assert_terms(model, model.loss(images, samples), expected)


def test_weights(batch):
    model = build(METHOD, cls_branch_weight=0.5, pair_weight=3.0)
    images, samples = batch
    expected = expected_terms(model, images, labels_of(samples))
    expected['loss_cls_branch'] = 0.5 * expected['loss_cls_branch']
    expected['loss_pair'] = 3 * expected['loss_pair']
    assert_terms(model, model.loss(images, samples), expected)


def test_every_classifier_learns_from_the_pairs_and_only_its_own_from_the_networks_cross_entropy(batch):
    model = build(METHOD)
    losses = model.loss(*batch)
    fc = {'head.fc.weight', 'branches.0.head.fc.weight', 'branches.1.head.fc.weight'}
    assert fc <= reached(losses['loss_pair'], model)
    assert fc & reached(losses['loss_cls'], model) == {'head.fc.weight'}
    assert fc & reached(losses['loss_cls_branch'], model) == fc - {'head.fc.weight'}


def test_classifiers_that_agree_have_nothing_to_teach(batch):
    model = build(METHOD)
    with torch.no_grad():
        for fc in (model.head.fc, *(branch.head.fc for branch in model.branches)):
            fc.weight.zero_()
            fc.bias.copy_(torch.arange(10))
    losses = model.loss(*batch)
    assert losses['loss_pair'].item() == pytest.approx(0, abs=1e-12)
    torch.testing.assert_close(losses['loss_cls_branch'], 2 * losses['loss_cls'])


@pytest.mark.parametrize(('weight', 'term'), [('cls_branch_weight', 'loss_cls_branch'), ('pair_weight', 'loss_pair')])
def test_a_term_without_weight_is_absent_and_all_parameters_still_learn(weight, term, batch):
    model = build(METHOD, **{weight: 0})
    losses = model.loss(*batch)
    assert losses.keys() == {'loss_cls', 'loss_cls_branch', 'loss_pair'} - {term}
    sum(losses.values()).backward()
    assert [name for name, p in model.named_parameters() if p.grad is None] == []


def test_without_weights_it_is_the_baseline(batch):
    assert_baseline(build(METHOD, cls_branch_weight=0, pair_weight=0), batch)


@pytest.mark.parametrize(
    ('backbone', 'starts'),
    [('ResNet-18', (2, 3)), ('WRN', (1, 2)), ('DenseNet', (1, 2)), ('HCGNet', (1, 2)), ('ResNet-50 at 224', (2, 3))],
)
def test_branches_follow_the_last_two_hidden_stages(backbone, starts):
    assert tuple(branch.start for branch in build(METHOD, NETWORKS[backbone]).branches) == starts


def count(module):
    return sum(p.numel() for p in module.parameters())


def test_branches_of_resnet18_are_the_librarys():
    """It has 29,022,700 parameters with pre-activation: a norm less in projections, and a norm of the block's input."""
    model = build(METHOD, dict(type='ResNet_CIFAR', depth=18))
    # 10 classes in the place of 100. A block that widens c channels to 2c has 6c more parameters here.
    total = count(model) + 3 * 90 * (512 + 1)
    assert total == 29_022_700 + 6 * (64 + 128 + 256) + 6 * (128 + 256) + 6 * 256
    assert [[len(stage) for stage in branch.stages.children()] for branch in model.branches] == [[1, 2], [2]]


def test_branches_of_wrn_are_the_originals():
    """WRN-28-4: group 2 with 4 and group 3 with 2 blocks; group 3 with 4 blocks of twice the width."""
    model = build(METHOD, dict(type='WideResNet_CIFAR', depth=28, widen_factor=4))
    first, second = model.branches
    assert count(first) + 90 * (256 + 1) == 3_241_188
    assert count(second) + 90 * (512 + 1) == 17_230_180


@pytest.mark.parametrize('backbone', ['DenseNet', 'HCGNet', 'ResNet-50 at 224'])
def test_other_branches_are_copies_of_the_later_stages(backbone):
    model = build(METHOD, NETWORKS[backbone])
    for branch in model.branches:
        copied = sum(count(getattr(model.backbone, name)) for name in model.backbone.res_layers[branch.start :])
        assert count(branch) == copied + count(model.head)


def test_branches_after_other_stages(batch):
    model = build(METHOD, branch_stages=(1, 3))
    losses = model.loss(*batch)
    assert_terms(model, losses, expected_terms(model, batch[0], labels_of(batch[1])))
    assert model.logs.keys() == {'top1_f', 'top1_b1', 'top1_b3'}


@pytest.mark.parametrize('stages', [(), (4,), (0,), (2, 2), 'last'])
def test_wrong_stages_are_named(stages):
    with pytest.raises(
        InputError, match=r'^DKSClassifier branch_stages=.*: expected different stages from 1 to 3, the'
    ):
        build(METHOD, branch_stages=stages)


@pytest.mark.parametrize('argument', ['cls_branch_weight', 'pair_weight'])
def test_wrong_numbers_are_named(argument):
    with pytest.raises(InputError, match=f'^DKSClassifier {argument}=-1: expected a finite number >= 0$'):
        build(METHOD, **{argument: -1})
