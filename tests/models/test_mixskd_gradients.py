"""Which term reaches which part, and what a term with weight 0 leaves out."""

import pytest
import torch

import mixskd_mm.models.methods.mixskd as mixskd_module
from mixskd_mm.models import Mixture
from mixskd_mm.models.heads import SelfTeacher

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
def test_teachers_of_logit_distillation_are_constants(term, build_mixskd, make_batch, monkeypatch):
    """Same gradient when the teachers are numbers recorded beforehand, in both directions of Eq. (10) and (12)."""
    batch, mixture = make_batch(4, dtype=torch.float64), Mixture(LAM, INDEX)
    model = build_mixskd().double().eval()
    kd_loss, teachers = mixskd_module.kd_loss, []

    def record(student, teacher, temperature):
        teachers.append(teacher.tolist())
        return kd_loss(student, teacher, temperature)

    def replay(student, teacher, temperature):
        return kd_loss(student, torch.tensor(teachers.pop(0), dtype=torch.float64), temperature)

    monkeypatch.setattr(mixskd_module, 'kd_loss', record)
    expected = gradient(model.loss(*batch, mixture)[term], model)
    assert len(teachers) == 2 * 3 + 2
    monkeypatch.setattr(mixskd_module, 'kd_loss', replay)
    constant = gradient(model.loss(*batch, mixture)[term], model)
    assert teachers == []
    assert any((g != 0).any() for g in expected)
    assert all(torch.equal(a, b) for a, b in zip(constant, expected))


def test_feature_loss_pulls_both_sides_with_opposite_gradients(build_mixskd, make_batch, monkeypatch):
    pairs, feature_loss = [], mixskd_module.feature_loss

    def record(interpolated, mixed):
        interpolated.retain_grad()
        pairs.append((interpolated, mixed))
        return feature_loss(interpolated, mixed)

    monkeypatch.setattr(mixskd_module, 'feature_loss', record)
    model = build_mixskd().double()
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
    batch, mixture = make_batch(4), Mixture(LAM, INDEX)
    full = build_mixskd()
    expected = full.loss(*batch, mixture)
    for weights, terms in TABLE_4.values():
        model = build_mixskd(**weights)
        parts = tuple(name for name, _ in model.named_children())
        model.load_state_dict({key: value for key, value in full.state_dict().items() if key.startswith(parts)})
        losses = model.loss(*batch, mixture)
        for term in terms:
            torch.testing.assert_close(losses[term], expected[term], rtol=1e-6, atol=0)


def refuse(*args, **kwargs):
    raise AssertionError('computed')


@pytest.mark.parametrize(
    'weights, unused',
    [
        (dict(feature_weight=0), ['feature_loss']),
        (dict(dis_weight=0), ['discriminator_loss']),
        (dict(logit_weight=dict(b_logit=0, f_logit=0)), ['kd_loss']),
        (dict(logit_weight=0), ['kd_loss', 'SelfTeacher.forward']),
    ],
    ids=['feature', 'dis', 'b_and_f_logit', 'logit'],
)
def test_a_term_with_weight_0_is_not_computed(weights, unused, build_mixskd, make_batch, monkeypatch):
    for function in unused:
        if function == 'SelfTeacher.forward':
            monkeypatch.setattr(SelfTeacher, 'forward', refuse)
        else:
            monkeypatch.setattr(mixskd_module, function, refuse)
    # The replaced functions are the ones that the full loss calls.
    with pytest.raises(AssertionError, match='computed'):
        build_mixskd().loss(*make_batch())
    assert 'loss_cls' in build_mixskd(**weights).loss(*make_batch())


@pytest.mark.parametrize(
    'logit_weight, calls',
    [(dict(), (6 + 2, 4 + 2)), (dict(b_logit=0), (2, 6)), (dict(f_logit=0), (6, 6)), (dict(cls_h=0), (8, 4))],
    ids=['all', 'no_b_logit', 'no_f_logit', 'no_cls_h'],
)
def test_each_logit_term_costs_its_own_divergences_only(logit_weight, calls, build_mixskd, make_batch, monkeypatch):
    """K = 4: six KL terms of the branches and two of f; four cross-entropies on mixed images and two of h."""
    counts = dict(kd_loss=0, mixed_cross_entropy=0)

    def counted(name, function):
        def call(*args):
            counts[name] += 1
            return function(*args)

        return call

    for name in counts:
        monkeypatch.setattr(mixskd_module, name, counted(name, getattr(mixskd_module, name)))
    build_mixskd(logit_weight=logit_weight).loss(*make_batch())
    assert tuple(counts.values()) == calls
