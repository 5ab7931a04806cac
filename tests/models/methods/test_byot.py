"""BYOT: the deepest classifier teaches; the whole loss and its gradients against an independent computation."""

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
    trained,
)

from mixskd_mm.errors import InputError
from mixskd_mm.models.stages import stage_outputs

METHOD = 'BYOTClassifier'
TERMS = {'loss_cls', 'loss_cls_branch', 'loss_kd', 'loss_feature'}


def maps_and_logits(model, images):
    """F_1 ... F_K and z_1 ... z_K, from the same forward as in training."""
    stages = stage_outputs(model.backbone, images)
    maps, heads = [], [branch.head.fc for branch in model.branches] + [model.head.fc]
    for branch in model.branches:
        x = stages[branch.start - 1]
        for stage in branch.stages.children():
            x = stage(x)
        maps.append(x)
    maps.append(stages[-1])
    return maps, [fc(x.mean((2, 3))) for fc, x in zip(heads, maps)]


def expected_terms(model, images, labels, T=4.0, alpha=1.0, lam=0.05, ce=1.0):
    (*F, F_K), (*z, z_K) = maps_and_logits(model, images)
    return dict(
        loss_cls=cross_entropy(z_K, labels),
        loss_cls_branch=ce * sum(cross_entropy(z_k, labels) for z_k in z),
        loss_kd=alpha * sum(kd(z_k, z_K, T) for z_k in z),
        loss_feature=lam * sum(((F_k - F_K.detach()) ** 2).sum() / F_K.numel() for F_k in F),
    )


@pytest.fixture
def batch(make_batch):
    return make_batch(3, dtype=torch.float64)


@pytest.mark.parametrize('backbone', NETWORKS.values(), ids=NETWORKS)
def test_terms_and_gradients_equal_an_independent_computation(backbone, make_batch):
    model = build(METHOD, backbone)
    images, samples = make_batch(3, image_size(backbone), dtype=torch.float64)
    # After each stage but the last.
    assert [branch.start for branch in model.branches] == [1, 2, 3][: len(model.backbone.res_layers) - 1]
    assert_terms(model, model.loss(images, samples), expected_terms(model, images, labels_of(samples)))


def test_weights_and_temperature(batch):
    """The article's form with alpha = 0.3."""
    model = build(METHOD, temperature=3.0, cls_branch_weight=0.7, kd_weight=0.3, feature_weight=2.0)
    expected = expected_terms(model, batch[0], labels_of(batch[1]), T=3.0, alpha=0.3, lam=2.0, ce=0.7)
    assert_terms(model, model.loss(*batch), expected)


def test_the_journal_versions_terms(batch):
    model = build(
        METHOD,
        cls_branch_weight=0.7,
        kd_weight=0.3,
        feature_weight=0.03,
        kd_loss=dict(type='DistillationCrossEntropyLoss', temperature=3.0, times_t_squared=False),
        feature_loss=dict(type='HintLoss', form='norm'),
    )
    (*F, F_K), (*z, z_K) = maps_and_logits(model, batch[0])
    expected = expected_terms(model, batch[0], labels_of(batch[1]), ce=0.7)
    q = (z_K.detach() / 3).softmax(1)
    expected['loss_kd'] = -0.3 * sum((q * (z_k / 3).softmax(1).log()).sum() / 3 for z_k in z)
    expected['loss_feature'] = 0.03 * sum(((F_k - F_K.detach()) ** 2).sum().sqrt() for F_k in F)
    assert_terms(model, model.loss(*batch), expected)


def test_only_what_a_shallow_classifier_reads_learns_from_the_deepest(batch):
    """Not the classifier and the last stage of the network, which teach."""
    model = build(METHOD)
    losses = model.loss(*batch)
    teacher = {name for name in trained(model) if name.startswith(('head.', 'backbone.layer4.'))}
    shared = {f'backbone.layer{k}.0.conv1.weight' for k in (1, 2, 3)}
    heads = {f'branches.{k}.head.fc.weight' for k in range(3)}
    for term in ('loss_cls_branch', 'loss_kd', 'loss_feature'):
        names = reached(losses[term], model)
        assert not names & teacher and names >= shared, term
        assert names & heads == (set() if term == 'loss_feature' else heads), term
    assert reached(losses['loss_cls'], model) & teacher
    assert not any(name.startswith('branches.') for name in reached(losses['loss_cls'], model))


def test_a_branch_that_copies_the_network_has_nothing_to_learn(batch):
    model = build(METHOD, branch_stages=(3,))
    # A block per stage, as the branch has.
    model.backbone.layer4 = torch.nn.Sequential(model.backbone.layer4[0])
    model.branches[0].stages.layer4.load_state_dict(model.backbone.layer4.state_dict())
    model.branches[0].head.load_state_dict(model.head.state_dict())
    losses = model.loss(*batch)
    assert losses['loss_kd'].item() == pytest.approx(0, abs=1e-12) and losses['loss_feature'].item() == 0
    torch.testing.assert_close(losses['loss_cls_branch'], losses['loss_cls'])


@pytest.mark.parametrize('term', ['cls_branch', 'kd', 'feature'])
def test_a_term_without_weight_is_absent_and_all_parameters_still_learn(term, batch):
    model = build(METHOD, **{f'{term}_weight': 0})
    losses = model.loss(*batch)
    assert losses.keys() == TERMS - {f'loss_{term}'}
    sum(losses.values()).backward()
    assert [name for name, p in model.named_parameters() if p.grad is None] == []


def test_with_features_alone_the_shallow_classifiers_are_fixed(batch):
    model = build(METHOD, cls_branch_weight=0, kd_weight=0)
    losses = model.loss(*batch)
    assert losses.keys() == {'loss_cls', 'loss_feature'}
    sum(losses.values()).backward()
    without = {name for name, p in model.named_parameters() if p.grad is None}
    assert without == {f'branches.{k}.head.fc.{kind}' for k in range(3) for kind in ('weight', 'bias')}
    assert not without & trained(model).keys()


def test_without_weights_it_is_the_baseline(batch):
    assert_baseline(build(METHOD, cls_branch_weight=0, kd_weight=0, feature_weight=0), batch)


def count(module):
    return sum(p.numel() for p in module.parameters())


def test_branches_of_resnet18_are_the_librarys():
    """It has 19,581,420 parameters with pre-activation: a norm less in projections, and a norm of the block's input."""
    model = build(METHOD, dict(type='ResNet_CIFAR', depth=18), branch_stages=(2, 3))
    # 10 classes in the place of 100. A block that widens c channels to 2c has 6c more parameters here.
    total = count(model) + 3 * 90 * (512 + 1)
    assert total == 19_581_420 + 6 * (64 + 128 + 256) + 6 * (128 + 256) + 6 * 256


@pytest.mark.parametrize('backbone', ['WRN', 'DenseNet', 'HCGNet'])
def test_other_branches_are_copies_of_the_later_stages(backbone):
    model = build(METHOD, NETWORKS[backbone])
    for branch in model.branches:
        copied = sum(count(getattr(model.backbone, name)) for name in model.backbone.res_layers[branch.start :])
        assert count(branch) == copied + count(model.head)


@pytest.mark.parametrize('stages', [(), (4,), (1, 1)])
def test_wrong_stages_are_named(stages):
    with pytest.raises(
        InputError, match=r'^BYOTClassifier branch_stages=.*: expected different stages from 1 to 3, the'
    ):
        build(METHOD, branch_stages=stages)


@pytest.mark.parametrize('argument', ['temperature', 'cls_branch_weight', 'kd_weight', 'feature_weight'])
def test_wrong_numbers_are_named(argument):
    with pytest.raises(InputError, match=f'^BYOTClassifier {argument}=-1: expected a finite number'):
        build(METHOD, **{argument: -1})
