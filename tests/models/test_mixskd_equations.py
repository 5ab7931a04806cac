"""Every term of Eq. (13), and its gradient for every parameter, against the paper's formulas written down again."""

import paper_reference
import pytest
import torch
from families import FAMILIES
from mmpretrain.registry import MODELS

from mixskd_mm.models import MaskMixture, Mixture

WEIGHTS = dict(feature=1.7, dis=0.6, b_logit=0.9, cls_h=1.3, f_logit=2.1)

CASES = {
    'paper': dict(),
    'clean_weight_1': dict(clean_weight=1),
    'clean_weight_2.5': dict(clean_weight=2.5, mixed_weight=0.75),
    'mixed_weight_0': dict(mixed_weight=0),
    'temperature_1': dict(temperature=1),
    'temperature_4.5': dict(temperature=4.5),
    'teacher_stage_1': dict(teacher_stages=[1]),
    'teacher_stages_2_4': dict(teacher_stages=[2, 4]),
    'teacher_stages_unordered': dict(teacher_stages=[4, 1, 3]),
    'two_logit_discriminators': dict(discriminator=dict(num_logits=2, hidden_channels=24)),
}


def model_arguments(case):
    return dict(
        feature_weight=WEIGHTS['feature'],
        dis_weight=WEIGHTS['dis'],
        logit_weight={term: WEIGHTS[term] for term in ('b_logit', 'cls_h', 'f_logit')},
        **case,
    )


def reference_arguments(case):
    arguments = {name: value for name, value in case.items() if name != 'discriminator'}
    return dict(T=arguments.pop('temperature', 3.0), **arguments)


def gradients(loss, parameters):
    grads = torch.autograd.grad(loss, parameters, retain_graph=True, allow_unused=True)
    return [torch.zeros_like(p) if g is None else g for p, g in zip(parameters, grads)]


@pytest.mark.parametrize('case', CASES.values(), ids=CASES.keys())
def test_terms_and_gradients_are_the_papers(case, build_mixskd, make_batch):
    model = build_mixskd(**model_arguments(case)).double()
    images, samples = make_batch(5, dtype=torch.float64)
    labels = torch.cat([s.gt_label for s in samples])
    lam, index = 0.3, [2, 0, 1, 4, 3]

    losses = model.loss(images, samples, Mixture(lam, index))
    expected = paper_reference.terms(model, images, labels, lam, index, **reference_arguments(case))
    for term, weight in WEIGHTS.items():
        expected[f'loss_{term}'] = weight * expected[f'loss_{term}']

    assert list(losses) == ['loss_cls', 'loss_feature', 'loss_dis', 'loss_b_logit', 'loss_cls_h', 'loss_f_logit']
    names, parameters = zip(*model.named_parameters())
    for term, loss in losses.items():
        torch.testing.assert_close(loss, expected[term], rtol=1e-10, atol=0, msg=term)
        actual_grads, expected_grads = gradients(loss, parameters), gradients(expected[term], parameters)
        scale = max(g.abs().max() for g in expected_grads)
        for name, actual, wanted in zip(names, actual_grads, expected_grads):
            torch.testing.assert_close(actual, wanted, rtol=1e-9, atol=1e-11 * scale, msg=f'd {term} / d {name}')


def test_default_weights_are_the_papers(build_mixskd, make_batch):
    """beta = gamma = mu = 1, T = 3, clean images counted twice, h on all stages."""
    model = build_mixskd().double()
    images, samples = make_batch(3, dtype=torch.float64)
    labels = torch.cat([s.gt_label for s in samples])
    losses = model.loss(images, samples, Mixture(0.8, [1, 2, 0]))
    expected = paper_reference.terms(model, images, labels, 0.8, [1, 2, 0], T=3.0)
    assert losses.keys() == expected.keys()
    for term in losses:
        torch.testing.assert_close(losses[term], expected[term], rtol=1e-10, atol=0)


def test_terms_are_the_papers_with_maxpool_and_bottlenecks(build_mixskd, make_batch):
    """The ImageNet ResNet, in evaluation mode of its norms, whose running statistics are not the initial ones."""
    model = build_mixskd(backbone=dict(type='ResNet', depth=50), head=dict(in_channels=256)).double()
    images, samples = make_batch(3, size=64, dtype=torch.float64)
    labels = torch.cat([s.gt_label for s in samples])
    model(images, samples, mode='loss')
    model.eval()
    losses = model.loss(images, samples, Mixture(0.6, [1, 2, 0]))
    expected = paper_reference.terms(model, images, labels, 0.6, [1, 2, 0], T=3.0)
    for term in losses:
        torch.testing.assert_close(losses[term], expected[term], rtol=1e-9, atol=0)


@pytest.mark.parametrize('n', [1, 2, 7])
def test_terms_are_the_papers_for_any_batch_size(n, build_mixskd, make_batch):
    """Among them a batch of one, and the odd last batch after a larger one."""
    model = build_mixskd().double()
    model.loss(*make_batch(8, size=32, dtype=torch.float64))
    images, samples = make_batch(n, size=32, dtype=torch.float64)
    labels = torch.cat([s.gt_label for s in samples])
    index = torch.randperm(n, generator=torch.Generator().manual_seed(1))
    losses = model.loss(images, samples, Mixture(0.4, index))
    expected = paper_reference.terms(model, images, labels, 0.4, index.tolist(), T=3.0)
    for term in losses:
        torch.testing.assert_close(losses[term], expected[term], rtol=1e-9, atol=1e-20)


@pytest.mark.parametrize('masks', ['one for each pair', 'one for all', 'box'])
def test_terms_and_gradients_are_the_papers_with_masks(masks, build_mixskd, make_batch):
    """Pooling does not commute with a mask: maps are mixed first. Image by image, each with its own lam."""
    model = build_mixskd().double()
    images, samples = make_batch(4, size=16, dtype=torch.float64)
    labels = torch.cat([s.gt_label for s in samples])
    index = [2, 3, 1, 0]
    mask = torch.rand(
        1 if masks == 'one for all' else 4, 1, 16, 16, generator=torch.Generator().manual_seed(3)
    ).double()
    if masks == 'box':
        mask = torch.ones(1, 1, 16, 16, dtype=torch.float64)
        mask[..., 3:12, 5:16] = 0
    losses = model.loss(images, samples, MaskMixture(mask, index))
    expected = paper_reference.terms(model, images, labels, None, index, mask=mask.expand(4, -1, -1, -1), T=3.0)
    parameters = list(model.parameters())
    for term, loss in losses.items():
        torch.testing.assert_close(loss, expected[term], rtol=1e-10, atol=0, msg=term)
        actual_grads, expected_grads = gradients(loss, parameters), gradients(expected[term], parameters)
        scale = max(g.abs().max() for g in expected_grads)
        for actual, wanted in zip(actual_grads, expected_grads):
            torch.testing.assert_close(actual, wanted, rtol=1e-9, atol=1e-11 * scale, msg=term)


@pytest.mark.parametrize('masked', [False, True], ids=['lam', 'mask'])
@pytest.mark.parametrize(
    'name, network',
    [
        ('ConvNeXt', paper_reference.ConvNeXt),
        ('ConvNeXtV2', paper_reference.ConvNeXt),
        ('Swin', paper_reference.Swin),
    ],
)
def test_terms_and_gradients_are_the_papers_on_networks_with_layer_norm(name, network, masked, make_batch):
    """F_k of ConvNeXt is the map before its final norm, which follows GAP and belongs to the classifiers g_k and f's."""
    member = FAMILIES[name]
    torch.manual_seed(0)
    model = MODELS.build(member.config(backbone=dict(member.backbone, drop_path_rate=0.0))).double()
    model.init_weights()
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.ndim == 1:
                parameter.add_(torch.rand_like(parameter))
    images, samples = make_batch(3, size=64, dtype=torch.float64)
    labels, index = torch.cat([s.gt_label for s in samples]), [2, 0, 1]
    mask = torch.rand(3, 1, 64, 64, dtype=torch.float64) if masked else None
    losses = model.loss(images, samples, MaskMixture(mask, index) if masked else Mixture(0.3, index))
    expected = paper_reference.terms(model, images, labels, 0.3, index, mask=mask, T=3.0, network=network)
    parameters = list(model.parameters())
    for term, loss in losses.items():
        torch.testing.assert_close(loss, expected[term], rtol=1e-9, atol=1e-15, msg=term)
        actual_grads, expected_grads = gradients(loss, parameters), gradients(expected[term], parameters)
        scale = max(g.abs().max() for g in expected_grads)
        for actual, wanted in zip(actual_grads, expected_grads):
            torch.testing.assert_close(actual, wanted, rtol=1e-7, atol=1e-9 * scale, msg=term)


def test_with_a_mask_the_shortcut_through_pooled_features_would_be_another_loss(build_mixskd, make_batch, monkeypatch):
    model = build_mixskd().double()
    images, samples = make_batch(4, size=16, dtype=torch.float64)
    mask = torch.ones(1, 1, 16, 16, dtype=torch.float64)
    mask[..., 3:12, 5:16] = 0
    right = model.loss(images, samples, MaskMixture(mask, [2, 3, 1, 0]))
    monkeypatch.setattr(MaskMixture, 'commutes_with_pooling', True)
    wrong = model.loss(images, samples, MaskMixture(mask, [2, 3, 1, 0]))
    for term in ('loss_dis', 'loss_cls_h', 'loss_f_logit'):
        assert abs(wrong[term].item() / right[term].item() - 1) > 1e-6, term
