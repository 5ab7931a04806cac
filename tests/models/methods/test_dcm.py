"""DCM: its terms against an independent computation and the original's numbers, what teaches whom, its networks."""

import golden
import pytest
import torch
import torch.nn.functional as F
from mmpretrain.registry import MODELS

from mixskd_mm.errors import InputError
from mixskd_mm.models.methods import dcm
from mixskd_mm.models.stages import stage_names, stage_outputs

RESNET = dict(type='ResNet_CIFAR', depth=18, stem_channels=8, base_channels=8, zero_init_residual=False)
WRN = dict(type='WideResNet_CIFAR', depth=10, widen_factor=1)
DENSENET = dict(type='DenseNet_CIFAR', depth=7, growth_rate=4)
PAIRS = {
    'same': dict(),
    'different': dict(backbone=WRN, peer=DENSENET),
    'narrow': dict(backbone=WRN, branches=dict(variant='narrow')),
    'apfc': dict(backbone=WRN, peer=DENSENET, branches=dict(variant='apfc')),
    'extra C4 in one': dict(backbone=WRN, peer=DENSENET, branches=[dict(extra_c4=True), dict()]),
}
WEIGHTS = dict(cls_weight=0.5, ds_weight=0.25, same_weight=2.0, cross_weight=3.0)
NONE = dict(ds_weight=0, same_weight=0, cross_weight=0)


def width(backbone):
    return MODELS.build(dict(backbone)).feat_dim


@pytest.fixture
def build():
    """Function: a DCMClassifier with small networks, in training mode; other arguments are the classifier's own."""

    def build(backbone=RESNET, peer=None, **kwargs):
        head = dict(type='LinearClsHead', num_classes=10, in_channels=width(backbone))
        if peer is not None:
            peer = dict(backbone=dict(peer), head=dict(in_channels=width(peer)))
        torch.manual_seed(0)
        model = MODELS.build(
            dict(
                type='DCMClassifier',
                backbone=dict(backbone),
                neck=dict(type='GlobalAveragePooling'),
                head=head,
                peer=peer,
                **kwargs,
            )
        )
        model.init_weights()
        return model.train()

    return build


def labels_of(samples):
    return torch.cat([sample.gt_label for sample in samples])


def all_logits(model, images):
    """[z_1, z_2, ...] of both networks, by their parts."""
    result = []
    for network, branches in zip((model, model.peer), model.branches):
        outputs = stage_outputs(network.backbone, images, stem=branches.extra_c4)
        result.append([network.head.fc(outputs[-1].mean((2, 3))), *branches(outputs)[::-1]])
    return result


def kl(student, teacher):
    """KL(q || p) with the teacher's q fixed, image by image and class by class."""
    p, q = ((logits.softmax(1) + 1e-8) / (1 + 1e-8 * logits.shape[1]) for logits in (student, teacher.detach()))
    return sum((q_c * (q_c / p_c).log()).sum() for q_c, p_c in zip(q.unbind(1), p.unbind(1))) / len(p)


def expected_terms(model, images, labels):
    z = all_logits(model, images)

    def cross_entropy(logits):
        return -logits.softmax(1)[range(len(labels)), labels].log().mean()

    pairs = [
        (i, j, kl(student, teacher))
        for students, teachers in (z, z[::-1])
        for i, student in enumerate(students)
        for j, teacher in enumerate(teachers)
    ]
    return dict(
        loss_cls=0.5 * (cross_entropy(z[0][0]) + cross_entropy(z[1][0])),
        loss_ds=0.25 * sum(map(cross_entropy, z[0][1:] + z[1][1:])),
        loss_same=2 * sum(value for i, j, value in pairs if i == j),
        loss_cross=3 * sum(value for i, j, value in pairs if i != j),
    )


@pytest.mark.parametrize('pair', PAIRS.values(), ids=PAIRS)
def test_terms_and_gradients_equal_an_independent_computation(pair, build, make_batch):
    model = build(**pair, **WEIGHTS).double()
    images, samples = make_batch(3, size=16, dtype=torch.float64)
    losses = model.loss(images, samples)
    expected = expected_terms(model, images, labels_of(samples))
    assert losses.keys() == expected.keys()
    parameters = [p for p in model.parameters() if p.requires_grad]
    for term, value in expected.items():
        torch.testing.assert_close(losses[term], value, msg=lambda m, term=term: f'{term}: {m}')
        actual, reference = (
            torch.autograd.grad(loss, parameters, retain_graph=True, allow_unused=True)
            for loss in (losses[term], value)
        )
        assert [g is None for g in actual] == [g is None for g in reference], term
        torch.testing.assert_close([g for g in actual if g is not None], [g for g in reference if g is not None])


@pytest.mark.parametrize('name', ['small', 'C100', 'peaked'])
def test_groups_are_those_of_the_authors_code(name, build, make_batch, monkeypatch):
    case = golden.case('dcm', name)
    x, values = golden.tensors(case), case['values']
    logits = [[x[f'z{n}_c{i}'] for i in (1, 2, 3)] for n in (1, 2)]
    model = build()
    monkeypatch.setattr(dcm, 'classify', lambda network, branches, images: logits[network is model.peer])
    losses, _ = model.losses(None, x['y'], None, [])
    main = values['ce']['z1_c1'] + values['ce']['z2_c1']
    golden.assert_value(losses['loss_cls'], main)
    golden.assert_value(losses['loss_ds'], values['sum_ce'] - main)
    golden.assert_value(losses['loss_same'], values['sum_kl_same_stage'])
    golden.assert_value(losses['loss_cross'], values['sum_kl_cross_stage'])
    golden.assert_gradients(sum(losses.values()), x, case['grads']['total'])


class Recorder(torch.nn.Module):
    """A KL that keeps its values."""

    def __init__(self):
        super().__init__()
        self.values = []

    def forward(self, student, teacher):
        self.values.append(kl(student, teacher))
        return self.values[-1]


def reaches(value, module):
    parameters = list(module.parameters())
    return any(g is not None for g in torch.autograd.grad(value, parameters, retain_graph=True, allow_unused=True))


def test_each_of_18_kl_trains_one_network_and_none_is_within_a_network(build, make_batch):
    model = build(WRN)
    model.pair_loss = Recorder()
    images, samples = make_batch(4, size=16)
    losses = model.loss(images, samples)
    values = model.pair_loss.values
    trained = [(reaches(value, model.backbone), reaches(value, model.peer.backbone)) for value in values]
    assert sorted(trained) == [(False, True)] * 9 + [(True, False)] * 9

    # Each student with each teacher of the other network, once.
    z = all_logits(model, images)
    expected = [kl(s, t) for students, teachers in (z, z[::-1]) for s in students for t in teachers]
    torch.testing.assert_close(sorted(v.item() for v in values), sorted(v.item() for v in expected))
    torch.testing.assert_close(sum(values), losses['loss_same'] + losses['loss_cross'])
    torch.testing.assert_close(sum(values[:6]), losses['loss_same'])


def test_networks_with_the_same_weights_teach_each_other_what_each_classifier_teaches_within(build, make_batch):
    model = build().double()
    model.peer.load_state_dict(model.to_plain().state_dict())
    model.branches[1].load_state_dict(model.branches[0].state_dict())
    images, samples = make_batch(4, size=16, dtype=torch.float64)
    losses = model.loss(images, samples)
    z, _ = all_logits(model, images)
    ce = [F.cross_entropy(logits, labels_of(samples)) for logits in z]
    within = sum(kl(z[i], z[j]) for i in range(3) for j in range(3) if i != j)
    torch.testing.assert_close(losses['loss_cls'] + losses['loss_ds'], 2 * sum(ce))
    assert losses['loss_same'].abs() < 1e-12
    torch.testing.assert_close(losses['loss_cross'], 2 * within)


def test_the_peer_is_by_default_the_same_network_with_other_weights(build):
    model = build()
    ours, theirs = model.to_plain().state_dict(), model.peer.state_dict()
    assert {name: value.shape for name, value in ours.items()} == {name: value.shape for name, value in theirs.items()}
    weights = [name for name, value in ours.items() if value.ndim > 1]
    assert weights and not any(torch.equal(ours[name], theirs[name]) for name in weights)
    same = zip(*(branches.parameters() for branches in model.branches), strict=True)
    assert not any(torch.equal(a, b) for a, b in same if a.ndim > 1)


def test_declared_stages_are_those_of_a_peer_without_a_backbone_of_its_own():
    stages, others = [['layer1', 'layer2'], ['layer3']], [['layer1'], ['layer2', 'layer3']]

    def names(peer):
        neck = dict(type='GlobalAveragePooling')
        model = MODELS.build(dict(type='DCMClassifier', backbone=WRN, neck=neck, head=HEAD, stages=stages, peer=peer))
        assert stage_names(model.backbone) == ['layer1+layer2', 'layer3']
        return stage_names(model.peer.backbone)

    assert names(None) == ['layer1+layer2', 'layer3']
    assert names(dict(backbone=WRN, stages=others)) == ['layer1', 'layer2+layer3']
    assert names(dict(backbone=WRN)) == ['layer1', 'layer2', 'layer3']


def test_all_classifiers_start_as_the_heads(build):
    model = build()
    heads = [model.head, model.peer.head, *(branch.head for branches in model.branches for branch in branches)]
    # PyTorch's would be 0.05 to 0.07.
    assert len(heads) == 6 and all(0.009 < head.fc.weight.std() < 0.011 for head in heads)


def test_without_weights_each_network_trains_as_a_plain_classifier(build, make_batch):
    model = build(WRN, peer=DENSENET, **NONE)
    batch = make_batch(4, size=16)
    plain, peer = model.to_plain(), model.peer
    assert {name.split('.')[0] for name in model.state_dict()} == {'backbone', 'head', 'peer'}
    losses = model.loss(*batch)
    alone = [plain.loss(*batch)['loss'], peer.loss(*batch)['loss']]
    assert losses.keys() == {'loss_cls'} and torch.equal(losses['loss_cls'], sum(alone))
    gradients = torch.autograd.grad(losses['loss_cls'], list(model.parameters()))
    expected = torch.autograd.grad(sum(alone), [*plain.parameters(), *peer.parameters()])
    names = [name for name, _ in model.named_parameters()]
    assert names == [name for name, _ in plain.named_parameters()] + [f'peer.{n}' for n, _ in peer.named_parameters()]
    assert all(map(torch.equal, gradients, expected))


@pytest.mark.parametrize('term', ['ds', 'same', 'cross'])
def test_a_term_without_weight_is_absent_and_alone_trains_everything(term, build, make_batch):
    batch = make_batch(4, size=16)
    expected = {'loss_cls', 'loss_ds', 'loss_same', 'loss_cross'}
    assert build(WRN, **{f'{term}_weight': 0}).loss(*batch).keys() == expected - {f'loss_{term}'}
    model = build(WRN, **{**NONE, f'{term}_weight': 1})
    losses = model.loss(*batch)
    assert losses.keys() == {'loss_cls', f'loss_{term}'} and len(model.branches[0]) == len(model.branches[1]) == 2
    sum(losses.values()).backward()
    assert [name for name, p in model.named_parameters() if p.grad is None] == []


def test_without_auxiliary_classifiers_it_is_deep_mutual_learning(build, make_batch):
    model = build(WRN, branches=dict(layout=[])).double()
    images, samples = make_batch(4, size=16, dtype=torch.float64)
    losses = model.loss(images, samples)
    (z,), (z_peer,) = all_logits(model, images)
    assert losses['loss_ds'] == losses['loss_cross'] == 0
    torch.testing.assert_close(losses['loss_same'], kl(z, z_peer) + kl(z_peer, z))


def test_accuracy_of_each_classifier_is_logged(build, make_batch, monkeypatch):
    """The k-th classifier is right for the first k images."""
    labels = torch.arange(8)
    guesses = [F.one_hot(torch.where(labels < k, labels, 9), 10).float() for k in range(1, 7)]
    model = build(WRN)
    monkeypatch.setattr(dcm, 'classify', lambda network, *_: guesses[3:] if network is model.peer else guesses[:3])
    _, logs = model.losses(None, labels, None, [])
    names = ('c1', 'c2', 'c3', 'peer_c1', 'peer_c2', 'peer_c3')
    assert logs == {f'top1_{name}': 12.5 * k for k, name in enumerate(names, start=1)}


@torch.no_grad()
def test_predictions_are_those_of_one_network_or_the_mean_of_both(build, make_batch):
    images, samples = make_batch(6, size=16)
    plain = {}
    for test_network in (0, 1, 'mean'):
        model = build(WRN, peer=DENSENET, test_network=test_network).eval()
        # Random weights hardly differ from a uniform prediction.
        model.head.fc.weight.mul_(100), model.peer.head.fc.weight.mul_(100)
        if test_network == 0:
            plain = {0: model.to_plain()(images), 1: model.peer(images)}
            p0, p1 = (logits.softmax(1) for logits in plain.values())
            plain['mean'] = ((p0 + p1) / 2).log()
            assert not p0.argmax(1).equal(p1.argmax(1))
        logits = model(images)
        torch.testing.assert_close(logits, plain[test_network])
        predicted = model.predict(images, samples)
        assert all(a is b for a, b in zip(predicted, samples, strict=True))
        scores = torch.stack([sample.pred_score for sample in predicted])
        torch.testing.assert_close(scores, logits.softmax(1))
        assert torch.equal(torch.cat([sample.pred_label for sample in predicted]), scores.argmax(1))
    torch.testing.assert_close(torch.stack([sample.network0_score for sample in predicted]), p0)
    torch.testing.assert_close(torch.stack([sample.network1_score for sample in predicted]), p1)


def test_the_plain_classifier_is_that_of_the_network_that_is_tested(build, make_batch):
    images, _ = make_batch()
    for network in (0, 1):
        model = build(WRN, test_network=network).eval()
        assert torch.equal(model.to_plain()(images), model(images))
    with pytest.raises(
        InputError, match=r"^DCMClassifier test_network='mean': expected 0 or 1, for one plain classifier$"
    ):
        build(WRN, test_network='mean').to_plain()


def test_the_mean_of_certain_networks_has_finite_logits_and_gradients(build):
    model = build(WRN, test_network='mean').eval()
    with torch.no_grad():
        for head in (model.head, model.peer.head):
            head.fc.bias[0] = 1e4
    images = torch.randn(2, 3, 16, 16, requires_grad=True)
    logits = model(images)
    logits.sum().backward()
    assert logits.isfinite().all() and images.grad.isfinite().all()


def test_what_predicts(build):
    names = {n: sorted({k.split('.')[0] for k in build(WRN, test_network=n).predicting}) for n in (0, 1, 'mean')}
    assert names == {0: ['backbone', 'head', 'neck'], 1: ['peer'], 'mean': ['backbone', 'head', 'neck', 'peer']}
    model = build(WRN, test_network=1)
    assert not any(name.startswith('peer.branches') for name in model.state_dict())


HEAD = dict(type='LinearClsHead', num_classes=10, in_channels=64)
BUILT = torch.nn.Flatten()
WRONG = {
    'network': (dict(test_network=2), "DCMClassifier test_network=2: expected 0, 1 or 'mean'"),
    'cls_weight': (dict(cls_weight=0), 'DCMClassifier cls_weight=0: expected a finite number > 0'),
    'cross_weight': (dict(cross_weight=-1), 'DCMClassifier cross_weight=-1: expected a finite number >= 0'),
    'one of two': (
        dict(branches=[{}]),
        'DCMClassifier branches=[{}]: expected one config for both networks, or a list of two',
    ),
    'part': (dict(peer=dict(type=1)), "DCMClassifier peer={'type': 1}: expected a config of some of backbone, neck, head"),
    'stages': (
        dict(peer=dict(stages=[['layer1', 'layer2'], ['layer3']])),
        "DCMClassifier peer={'stages': [['layer1', 'layer2'], ['layer3']]}: expected a config of some of backbone",
    ),
    'stages of a peer': (
        dict(peer=dict(backbone=WRN, stages=1)),
        'DCMClassifier peer.stages=1: expected names of modules, two stages or more',
    ),
    'built': (dict(neck=BUILT), 'DCMClassifier neck is a Flatten: expected a config, for two networks'),
    'built peer': (dict(peer=dict(neck=BUILT)), 'DCMClassifier neck is a Flatten: expected a config, for two networks'),
    'classes': (dict(peer=dict(head=dict(num_classes=9))), 'DCMClassifier peer.head.num_classes=9: expected 10, as in head'),
    'width': (
        dict(peer=dict(backbone=DENSENET)),
        f'DCMClassifier peer head.in_channels=64: expected {width(DENSENET)}, the width of the last stage of backbone',
    ),
    'peer loss': (
        dict(peer=dict(head=dict(loss=dict(type='LabelSmoothLoss', label_smooth_val=0.1)))),
        'DCMClassifier peer head.loss is a LabelSmoothLoss: expected a plain CrossEntropyLoss',
    ),
    'no head': (dict(head=None), 'DCMClassifier head is a NoneType: expected a LinearClsHead'),
    'no neck': (dict(neck=None), 'DCMClassifier neck is missing: expected a GlobalAveragePooling'),
    'mixing': (
        dict(data_preprocessor=dict(type='MixupDataPreprocessor')),
        'DCMClassifier data_preprocessor is a MixupDataPreprocessor: expected one that does not mix',
    ),
}  # fmt: skip


@pytest.mark.parametrize('arguments, message', WRONG.values(), ids=WRONG)
def test_wrong_arguments_end_in_one_line(arguments, message):
    config = dict(type='DCMClassifier', backbone=WRN, neck=dict(type='GlobalAveragePooling'), head=HEAD)
    with pytest.raises(InputError) as error:
        MODELS.build({**config, **arguments})
    assert str(error.value).startswith(message) and '\n' not in str(error.value)
