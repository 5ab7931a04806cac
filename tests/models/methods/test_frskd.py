"""FRSKD: its terms against an independent computation, what teaches whom, its parts."""

import math

import pytest
import torch
from mmpretrain.registry import MODELS

from mixskd_mm.models import Mixture
from mixskd_mm.models.stages import stage_outputs

MIXTURE = Mixture(0.3, [2, 0, 3, 1])
CIFAR_NETWORKS = {
    'WRN-16-2': dict(type='WideResNet_CIFAR', depth=10, widen_factor=1),
    'DenseNet': dict(type='DenseNet_CIFAR', depth=7, growth_rate=4),
    'ResNet': dict(type='ResNet_CIFAR', depth=18, stem_channels=8, base_channels=8, zero_init_residual=False),
}


@pytest.fixture
def build():
    """Function: an FRSKDClassifier with a small network, in training mode; other arguments are the classifier's own."""

    def build(backbone=CIFAR_NETWORKS['ResNet'], **kwargs):
        torch.manual_seed(0)
        backbone = MODELS.build(dict(backbone))
        head = dict(type='LinearClsHead', num_classes=10, in_channels=backbone.feat_dim)
        model = MODELS.build(
            dict(type='FRSKDClassifier', backbone=backbone, neck=dict(type='GlobalAveragePooling'), head=head, **kwargs)
        )
        model.init_weights()
        return model.train()

    return build


def attention(feature):
    """One image's q: mean of squares over channels, of length 1."""
    squares = (feature**2).sum(0) / len(feature)
    return squares / math.sqrt((squares**2).sum().item())


def expected_terms(model, images, targets):
    """The four terms, image by image, for soft labels ``targets`` ``(N, C)``; T = 3, alpha = 0.5, beta = 20."""
    stages = stage_outputs(model.backbone, images)
    z = model.head.fc(stages[-1].mean((2, 3)))
    z_T, refined = model.self_teacher([stage.clamp(min=0) for stage in stages])
    n = len(images)
    p, q = (z / 3).softmax(1), (z_T / 3).softmax(1)
    return dict(
        loss_cls=-(targets * z.softmax(1).log()).sum() / n,
        loss_cls_teacher=-(targets * z_T.softmax(1).log()).sum() / n,
        loss_kd=0.5 * 9 * (q * (q / p).log()).sum() / n,
        loss_feature=20
        * sum(
            ((attention(F_i[j].clamp(min=0)) - attention(T_i[j])) ** 2).mean() / n
            for F_i, T_i in zip(stages, refined)
            for j in range(n)
        ),
    )


@pytest.mark.parametrize('mixture', [None, MIXTURE], ids=['clean', 'mixed'])
@pytest.mark.parametrize('backbone', CIFAR_NETWORKS.values(), ids=CIFAR_NETWORKS)
def test_terms_equal_an_independent_computation(mixture, backbone, build, make_batch):
    preprocessor = dict(type='ClsDataPreprocessor' if mixture is None else 'MixupDataPreprocessor')
    weights = dict(temperature=3.0, kd_weight=0.5, feature_weight=20.0)
    model = build(backbone, data_preprocessor=preprocessor, **weights).double()
    images, samples = make_batch(4, size=16, dtype=torch.float64)
    labels = torch.cat([sample.gt_label for sample in samples])
    targets = torch.nn.functional.one_hot(labels, 10).double()
    losses = model.loss(images, samples, mixture)
    if mixture is not None:
        images = 0.3 * images + 0.7 * images[MIXTURE.index]
        targets = 0.3 * targets + 0.7 * targets[MIXTURE.index]
    expected = expected_terms(model, images, targets)
    assert losses.keys() == expected.keys()
    for term, value in expected.items():
        torch.testing.assert_close(losses[term], value, msg=lambda m, term=term: f'{term}: {m}')


def gradients(loss, module):
    return torch.autograd.grad(loss, list(module.parameters()), retain_graph=True, allow_unused=True)


def test_distillation_teaches_the_network_alone_and_the_teachers_cross_entropy_both(build, make_batch):
    model = build()
    losses = model.loss(*make_batch(4, size=16))
    for term in ('loss_kd', 'loss_feature'):
        assert all(g is None or not g.any() for g in gradients(losses[term], model.self_teacher)), term
        assert any(g is not None and g.any() for g in gradients(losses[term], model.backbone)), term
    assert all(g.any() for g in gradients(losses['loss_cls_teacher'], model.self_teacher))
    assert all(g.any() for g in gradients(losses['loss_cls_teacher'], model.backbone))
    assert all(g is None for g in gradients(losses['loss_cls'], model.self_teacher))


def test_parameters_are_the_originals_for_cifar_resnet18(build):
    model = build(dict(type='ResNet_CIFAR', depth=18))
    # 10 classes in the place of 100, in both heads.
    count = sum(p.numel() for p in model.parameters()) + 90 * (512 + 1) + 90 * (1024 + 1)
    assert count == 17_595_926


def test_a_self_teacher_of_another_size_is_a_setting(build):
    model = build(self_teacher=dict(width=1, depth=1))
    assert model.self_teacher.fc.in_features == 64
    assert len(model.self_teacher.top_down[0].convs) == 4


def test_without_weights_nothing_but_the_networks_cross_entropy_is_left(build, make_batch):
    model = build(cls_teacher_weight=0, kd_weight=0, feature_weight=0)
    assert not any(name.startswith('self_teacher') for name in model.state_dict())
    assert model.loss(*make_batch(4, size=16)).keys() == {'loss_cls'}


@pytest.mark.parametrize(
    ('weight', 'term'),
    [('cls_teacher_weight', 'loss_cls_teacher'), ('kd_weight', 'loss_kd'), ('feature_weight', 'loss_feature')],
)
def test_a_term_without_weight_is_absent_and_what_it_alone_trains_is_fixed(weight, term, build, make_batch):
    model = build(**{weight: 0})
    losses = model.loss(*make_batch(4, size=16))
    assert losses.keys() == {'loss_cls', 'loss_cls_teacher', 'loss_kd', 'loss_feature'} - {term}
    sum(losses.values()).backward()
    assert [name for name, p in model.named_parameters() if p.requires_grad and p.grad is None] == []
    assert model.self_teacher.fc.weight.requires_grad == (weight != 'cls_teacher_weight')


def test_only_mixed_images_are_forwarded(build, make_batch):
    model = build(data_preprocessor=dict(type='MixupDataPreprocessor'))
    seen = []
    model.backbone.conv1.register_forward_pre_hook(lambda module, args: seen.append(args[0]))
    images, samples = make_batch(4, size=16)
    model.loss(images, samples, MIXTURE)
    assert len(seen) == 1
    torch.testing.assert_close(seen[0], 0.3 * images + 0.7 * images[MIXTURE.index])
