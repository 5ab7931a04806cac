"""Which term reaches which part, and what a term with weight 0 leaves out."""

import pytest
import torch
from mmpretrain.registry import MODELS

from mixskd_mm.models import FeatureLoss, Mixture
from mixskd_mm.models.losses import kd_loss

LAM, INDEX = 0.3, [1, 2, 3, 0]
TERMS = ('loss_cls', 'loss_feature', 'loss_dis', 'loss_b_logit', 'loss_cls_h', 'loss_f_logit')


def reached(model, loss):
    """The parameters with a gradient beyond rounding (float64)."""
    model.zero_grad(set_to_none=True)
    loss.backward(retain_graph=True)
    return {name for name, p in model.named_parameters() if p.grad is not None and p.grad.abs().max() > 1e-12}


def names(model, *prefixes):
    return {name for name, _ in model.named_parameters() if name.startswith(prefixes)}


@pytest.fixture
def losses_of(build_mixskd, make_batch):
    """Function: a model in float64 and its losses."""

    def build(**kwargs):
        model = build_mixskd(**kwargs).double()
        return model, model.loss(*make_batch(4, dtype=torch.float64), Mixture(LAM, INDEX))

    return build


def test_every_parameter_gets_a_gradient_under_the_default_loss(losses_of):
    model, losses = losses_of()
    assert reached(model, sum(losses.values())) == names(model, '')


def test_classification_reaches_backbone_and_all_classifiers_but_neither_h_nor_d(losses_of):
    model, losses = losses_of()
    assert reached(model, losses['loss_cls']) == names(model, 'backbone', 'head', 'branches')


def test_feature_loss_reaches_all_stages_but_no_classifier(losses_of):
    model, losses = losses_of()
    expected = names(model, 'backbone', *(f'branches.{i}.stages' for i in range(3)))
    assert reached(model, losses['loss_feature']) == expected


def test_discriminator_loss_reaches_every_d_and_the_network(losses_of):
    """One joint minimisation: no alternating step, no reversed gradient."""
    model, losses = losses_of()
    expected = names(model, 'backbone', 'discriminators', *(f'branches.{i}.stages' for i in range(3)))
    actual = reached(model, losses['loss_dis'])
    assert {f'discriminators.{k}.mlp.{i}.{p}' for k in range(4) for i in (0, 2) for p in ('weight', 'bias')} <= actual
    assert actual == expected


def test_b_logit_loss_reaches_all_branches_but_not_f(losses_of):
    """Nor the biases of the branches: they shift interpolated and mixed logits alike, and the two KL terms cancel there."""
    model, losses = losses_of()
    biases = {f'branches.{i}.head.fc.bias' for i in range(3)}
    expected = names(model, 'backbone', 'branches') - names(model, 'backbone.layer4') - biases
    assert reached(model, losses['loss_b_logit']) == expected


def test_cls_h_loss_reaches_h_and_all_stages(losses_of):
    model, losses = losses_of()
    expected = names(model, 'backbone', 'self_teacher', *(f'branches.{i}.stages' for i in range(3)))
    assert reached(model, losses['loss_cls_h']) == expected


def test_f_logit_loss_gives_h_no_gradient_at_all(losses_of):
    model, losses = losses_of()
    assert reached(model, losses['loss_f_logit']) == names(model, 'backbone', 'head')
    assert all(p.grad is None for p in model.self_teacher.parameters())
    assert all(p.grad is None for p in model.branches.parameters())


def test_cls_h_loss_reaches_only_the_stages_that_feed_h(losses_of):
    model, losses = losses_of(teacher_stages=[2])
    expected = names(model, 'backbone.conv1', 'backbone.bn1', 'backbone.layer1', 'backbone.layer2', 'self_teacher')
    assert reached(model, losses['loss_cls_h']) == expected | names(model, 'branches.1.stages')


def gradient(loss, model):
    parameters = [p for p in model.parameters() if p.requires_grad]
    grads = torch.autograd.grad(loss, parameters, allow_unused=True)
    return [torch.zeros_like(p) if g is None else g for p, g in zip(parameters, grads)]


@pytest.mark.parametrize('term', ['loss_b_logit', 'loss_f_logit'])
def test_teachers_of_logit_distillation_are_constants(term, build_mixskd, make_batch):
    """Same gradient when the teachers are numbers recorded beforehand, in both directions of Eq. (10) and (12)."""
    batch, mixture = make_batch(4, dtype=torch.float64), Mixture(LAM, INDEX)
    model = build_mixskd().double().eval()
    teachers = []

    def record(student, teacher):
        teachers.append(teacher.tolist())
        return kd_loss(student, teacher, 3.0)

    def replay(student, teacher):
        return kd_loss(student, torch.tensor(teachers.pop(0), dtype=torch.float64), 3.0)

    model.kd_loss.forward = record
    expected = gradient(model.loss(*batch, mixture)[term], model)
    assert len(teachers) == 2 * 3 + 2
    model.kd_loss.forward = replay
    constant = gradient(model.loss(*batch, mixture)[term], model)
    assert teachers == []
    assert any((g != 0).any() for g in expected)
    for a, b in zip(constant, expected):
        torch.testing.assert_close(a, b, rtol=1e-9, atol=1e-12)


def test_feature_loss_pulls_both_sides_with_opposite_gradients(build_mixskd, make_batch):
    pairs = []

    def record(module, arguments):
        arguments[0].retain_grad()
        pairs.append(arguments)

    model = build_mixskd().double()
    model.feature_loss.register_forward_pre_hook(record)
    loss = model.loss(*make_batch(4, dtype=torch.float64), Mixture(LAM, INDEX))['loss_feature']
    assert len(pairs) == 4
    for interpolated, mixed in pairs:
        towards_interpolated, towards_mixed = torch.autograd.grad(loss, [interpolated, mixed], retain_graph=True)
        assert (towards_interpolated != 0).any()
        assert torch.equal(towards_interpolated, -towards_mixed)


def test_frozen_discriminators_keep_their_weights_but_pass_gradients_to_the_network(losses_of):
    model, losses = losses_of(discriminator=dict(frozen=True))
    assert not any(p.requires_grad for p in model.discriminators.parameters())
    assert reached(model, losses['loss_dis']) >= names(model, 'backbone')


@pytest.mark.parametrize('cls_h', [0, 1])
def test_h_is_trained_only_with_the_loss_that_trains_it(cls_h, losses_of):
    model, losses = losses_of(logit_weight=dict(cls_h=cls_h))
    assert {p.requires_grad for p in model.self_teacher.parameters()} == {cls_h == 1}
    # Every parameter that a wrapper for several processes would wait for gets a gradient.
    trainable = {name for name, p in model.named_parameters() if p.requires_grad}
    assert reached(model, sum(losses.values())) == trainable


# Table 4: weights that switch off what a column lacks, and the terms it has.
TABLE_4 = {
    'cls': (dict(feature_weight=0, dis_weight=0, logit_weight=0), TERMS[:1]),
    'cls_feature': (dict(dis_weight=0, logit_weight=0), TERMS[:2]),
    'cls_feature_dis': (dict(logit_weight=0), TERMS[:3]),
    'cls_b_logit': (
        dict(feature_weight=0, dis_weight=0, logit_weight=dict(cls_h=0, f_logit=0)),
        ('loss_cls', 'loss_b_logit'),
    ),
    'cls_h_f_logit': (
        dict(feature_weight=0, dis_weight=0, logit_weight=dict(b_logit=0)),
        ('loss_cls', 'loss_cls_h', 'loss_f_logit'),
    ),
    'cls_logit': (
        dict(feature_weight=0, dis_weight=0),
        ('loss_cls', 'loss_b_logit', 'loss_cls_h', 'loss_f_logit'),
    ),
    'all': (dict(), TERMS),
}


@pytest.mark.parametrize('weights, terms', TABLE_4.values(), ids=TABLE_4.keys())
def test_columns_of_table_4_have_their_terms_and_train_all_they_build(weights, terms, losses_of):
    model, losses = losses_of(**weights)
    assert tuple(losses) == terms
    assert all(p.requires_grad for p in model.parameters())
    assert reached(model, sum(losses.values())) == names(model, '')


@pytest.mark.parametrize('weights, terms', TABLE_4.values(), ids=TABLE_4.keys())
def test_columns_of_table_4_build_only_what_they_need(weights, terms, build_mixskd):
    model = build_mixskd(**weights)
    parts = {key.split('.')[0] for key in model.state_dict()}
    expected = {'backbone', 'head', 'branches'}
    expected |= {'discriminators'} if 'loss_dis' in terms else set()
    expected |= {'self_teacher'} if 'loss_cls_h' in terms else set()
    assert parts == expected
    count = sum(p.numel() for p in model.parameters())
    full = sum(p.numel() for p in build_mixskd().parameters())
    h, D = (4 * 64 * 64 + 64 * 10 + 10), 4 * (64 * 128 + 128 + 128 + 1)
    assert count == full - (h if 'loss_cls_h' not in terms else 0) - (D if 'loss_dis' not in terms else 0)


def test_terms_that_stay_have_the_same_value_when_others_are_switched_off(build_mixskd, make_batch):
    batch, mixture = make_batch(4, dtype=torch.float64), Mixture(LAM, INDEX)
    full = build_mixskd().double()
    expected = full.loss(*batch, mixture)
    for weights, terms in TABLE_4.values():
        model = build_mixskd(**weights).double()
        parts = tuple(name for name, _ in model.named_children())
        model.load_state_dict({key: value for key, value in full.state_dict().items() if key.startswith(parts)})
        losses = model.loss(*batch, mixture)
        for term in terms:
            torch.testing.assert_close(losses[term], expected[term], rtol=1e-9, atol=0)


def count_calls(model, *names):
    """Forward calls of the modules ``names`` of ``model``, counted from now on."""
    counts = dict.fromkeys(names, 0)

    def count(name):
        def call(*args):
            counts[name] += 1

        return call

    for name in names:
        if hasattr(model, name):
            getattr(model, name).register_forward_pre_hook(count(name))
    return counts


# K = 4: a feature and a discriminator loss for each stage, six KL terms of the branches and two of f, four
# cross-entropies on mixed images and two of h.
CALLS = dict(feature_loss=4, dis_loss=4, kd_loss=8, mixed_loss=6, self_teacher=1)


@pytest.mark.parametrize(
    'weights, calls',
    [
        (dict(), dict()),
        (dict(feature_weight=0), dict(feature_loss=0)),
        (dict(dis_weight=0), dict(dis_loss=0)),
        (dict(logit_weight=dict(b_logit=0)), dict(kd_loss=2)),
        (dict(logit_weight=dict(f_logit=0)), dict(kd_loss=6)),
        (dict(logit_weight=dict(cls_h=0)), dict(mixed_loss=4)),
        (dict(logit_weight=dict(b_logit=0, f_logit=0)), dict(kd_loss=0)),
        (dict(logit_weight=0), dict(kd_loss=0, mixed_loss=4, self_teacher=0)),
    ],
    ids=['all', 'no_feature', 'no_dis', 'no_b_logit', 'no_f_logit', 'no_cls_h', 'no_kd', 'no_logit'],
)
def test_a_term_with_weight_0_is_not_computed_and_each_costs_its_own_calls_only(
    weights, calls, build_mixskd, make_batch
):
    model = build_mixskd(**weights)
    counts = count_calls(model, *CALLS)
    model.loss(*make_batch())
    assert counts == {**CALLS, **calls}


def test_a_term_is_exchanged_by_its_config(build_mixskd, make_batch):
    """Its name in the registry decides, and it sees what the paper's own term sees."""

    @MODELS.register_module(force=True)
    class HalfFeatureLoss(FeatureLoss):
        def forward(self, interpolated, mixed):
            return super().forward(interpolated, mixed) / 2

    own, half = build_mixskd(), build_mixskd(feature_loss=dict(type='HalfFeatureLoss'))
    half.load_state_dict(own.state_dict())
    batch, mixture = make_batch(), Mixture(LAM, INDEX)
    expected, actual = own.loss(*batch, mixture), half.loss(*batch, mixture)
    torch.testing.assert_close(actual['loss_feature'], expected['loss_feature'] / 2)
    torch.testing.assert_close(actual['loss_cls'], expected['loss_cls'])
    # A term of the default type gets the classifier's temperature, unless it has its own.
    assert build_mixskd(temperature=2.0).kd_loss.temperature == 2
    assert build_mixskd(kd_loss=dict(type='KDLoss', temperature=5.0)).kd_loss.temperature == 5
