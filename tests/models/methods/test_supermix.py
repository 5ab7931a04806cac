"""SuperMix: its terms on natural and mixed images, against the golden numbers and an independent computation."""

from unittest.mock import patch

import golden
import pytest
import torch
from mmpretrain.structures import DataSample
from small_classifiers import NETWORKS, RESNET, build, config, gradients

from mixskd_mm.errors import InputError
from mixskd_mm.models import SuperMixClassifier
from mixskd_mm.models.teacher import FrozenTeacher

WRN = NETWORKS['WRN']


def logits(model, images):
    return model.head.fc(model.backbone(images)[-1].mean((2, 3)))


@pytest.fixture(scope='module')
def teacher(tmp_path_factory):
    """Arguments of a classifier with a small trained teacher."""
    path = tmp_path_factory.mktemp('teacher') / 'teacher.pth'
    torch.save(build('ImageClassifier', WRN, seed=7).state_dict(), path)
    return dict(teacher=config('ImageClassifier', WRN), teacher_checkpoint=str(path))


@pytest.mark.parametrize(('name', 'gamma', 'alpha'), [('gamma2_alpha0', 2.0, 0.0), ('gamma1.8_alpha0.2', 1.8, 0.2)])
def test_loss_and_gradients_are_those_of_the_original_code(name, gamma, alpha, teacher):
    case = golden.case('supermix', 'training_loss')
    x, values, grads = golden.tensors(case), case['values'][name], case['grads'][name]
    model = build('SuperMixClassifier', ce_weight=gamma, mixed_weight=gamma, kd_weight=alpha, **teacher)
    # The teacher sees natural images for KD alone.
    taught = [x['z_teacher_natural'], x['z_teacher_mixed']][alpha == 0 :]
    with (
        patch.object(SuperMixClassifier, 'classify', side_effect=[x['z_student_natural'], x['z_student_mixed']]),
        patch.object(FrozenTeacher, 'forward', side_effect=taught),
    ):
        losses, _ = model.losses(torch.randn(12, 3, 8, 8, dtype=torch.float64), torch.cat([x['y'], x['y']]), None, [])
    golden.assert_value(losses['loss_cls'] / gamma, values['ce_natural'])
    golden.assert_value(losses['loss_mixed'] / gamma, values['ce_mixed_vs_teacher_argmax'])
    if alpha > 0:
        golden.assert_value(losses['loss_kd'] / alpha, values['kd_natural'])
    golden.assert_value(sum(losses.values()), values['total'])
    # The original code does not detach its teacher, whose parameters do not learn either.
    of_student = {key: value for key, value in grads.items() if 'student' in key}
    golden.assert_gradients(sum(losses.values()), x, of_student)
    golden.assert_gradients(sum(losses.values()), x, {'z_teacher_natural': None, 'z_teacher_mixed': None})


def ce(z, target):
    log_p = z - z.exp().sum(1, keepdim=True).log()
    return -(target * log_p).sum(1).mean()


@pytest.mark.parametrize('kd_on', ['natural', 'mixed'])
def test_terms_equal_an_independent_computation(kd_on, teacher, make_batch):
    weights = dict(ce_weight=0.3, mixed_weight=0.5, kd_weight=0.7)
    model = build('SuperMixClassifier', kd_on=kd_on, temperature=3.0, **weights, **teacher)
    images, samples = make_batch(8, dtype=torch.float64)
    one_hot = torch.eye(10, dtype=torch.float64)
    y = one_hot[torch.cat([sample.gt_label for sample in samples[:4]])]
    losses = model.loss(images, samples)
    # Each half has its own statistics.
    z = {'natural': logits(model, images[:4]), 'mixed': logits(model, images[4:])}
    z_t = {'natural': logits(model.teacher, images[:4]), 'mixed': logits(model.teacher, images[4:])}
    torch.testing.assert_close(losses['loss_cls'], 0.3 * ce(z['natural'], y))
    torch.testing.assert_close(losses['loss_mixed'], 0.5 * ce(z['mixed'], one_hot[z_t['mixed'].argmax(1)]))
    q, p = (z_t[kd_on] / 3).softmax(1), (z[kd_on] / 3).softmax(1)
    torch.testing.assert_close(losses['loss_kd'], 0.7 * 9 * (q * (q / p).log()).sum() / 4)
    assert losses.keys() == {'loss_cls', 'loss_mixed', 'loss_kd'}
    assert set(model.logs) == ({'top1_f', 'top1_teacher'} if kd_on == 'natural' else {'top1_f'})


def test_mixed_images_learn_the_labels_of_the_data(make_batch):
    model = build('SuperMixClassifier', mixed_labels='data')
    assert not any(name.startswith('teacher') for name in model.state_dict())
    images, samples = make_batch(8, dtype=torch.float64)
    z = logits(model, images[4:])
    hard = torch.eye(10, dtype=torch.float64)[torch.cat([sample.gt_label for sample in samples[4:]])]
    torch.testing.assert_close(model.loss(images, samples)['loss_mixed'], ce(z, hard))
    soft = torch.rand(4, 10, dtype=torch.float64, generator=torch.Generator().manual_seed(0)).softmax(1)
    mixed = [sample.clone().set_gt_score(score) for sample, score in zip(samples[4:], soft)]
    torch.testing.assert_close(model.loss(images, samples[:4] + mixed)['loss_mixed'], ce(z, soft))


@pytest.mark.parametrize(
    ('weights', 'terms', 'needs_teacher'),
    [
        (dict(), {'loss_cls', 'loss_mixed'}, True),
        (dict(mixed_weight=0), {'loss_cls'}, False),
        (dict(ce_weight=0, mixed_weight=0, kd_weight=1, kd_on='mixed'), {'loss_kd'}, True),
        (dict(mixed_weight=0, kd_weight=1), {'loss_cls', 'loss_kd'}, True),
    ],
)
def test_a_weight_of_zero_leaves_out_the_term_and_what_only_it_needs(
    weights, terms, needs_teacher, teacher, make_batch
):
    model = build('SuperMixClassifier', **weights, **teacher)
    assert hasattr(model, 'teacher') == needs_teacher
    images, samples = make_batch(8, dtype=torch.float64)
    seen, seen_by_teacher = [], []
    model.backbone.register_forward_hook(lambda module, args, output: seen.append(args[0]))
    if needs_teacher:
        model.teacher.backbone.register_forward_hook(lambda module, args, output: seen_by_teacher.append(args[0]))
    assert model.loss(images, samples).keys() == terms
    natural = weights.get('ce_weight', 1) > 0
    mixed = weights.get('mixed_weight', 1) > 0 or weights.get('kd_on') == 'mixed'
    assert [torch.equal(x, images[:4]) for x in seen] == [True] * natural + [False] * mixed
    assert len(seen_by_teacher) == needs_teacher


def test_without_mixed_images_the_plain_network_is_left(make_batch):
    model = build('SuperMixClassifier', mixed_weight=0)
    plain = model.to_plain()
    images, samples = make_batch(8, dtype=torch.float64)
    losses, expected = model.loss(images, samples), plain.loss(images[:4], samples[:4])
    torch.testing.assert_close(losses['loss_cls'], expected['loss'], rtol=1e-14, atol=0)
    reference = gradients(expected['loss'], plain)
    assert all(torch.equal(g, reference[name]) for name, g in gradients(losses['loss_cls'], model).items())


@pytest.mark.parametrize('term', ['loss_cls', 'loss_mixed', 'loss_kd'])
def test_only_the_student_learns(term, teacher, make_batch):
    model = build('SuperMixClassifier', RESNET, kd_weight=1, **teacher)
    loss = model.loss(*make_batch(8, dtype=torch.float64))[term]
    assert all(g.any() for g in gradients(loss, model.backbone).values())
    assert not any(p.requires_grad for p in model.teacher.parameters())


@pytest.mark.parametrize(
    ('arguments', 'message'),
    [
        (dict(mixed_weight=-1), 'SuperMixClassifier mixed_weight=-1: expected a finite number >= 0'),
        (dict(mixed_labels='soft'), "SuperMixClassifier mixed_labels='soft': expected 'teacher' or 'data'"),
        (dict(kd_on='both'), "SuperMixClassifier kd_on='both': expected 'natural' or 'mixed'"),
        (dict(), 'SuperMixClassifier teacher_checkpoint=None: expected that of a trained teacher'),
    ],
)
def test_wrong_arguments_end_in_one_line(arguments, message):
    with pytest.raises(InputError) as error:
        build('SuperMixClassifier', **arguments)
    assert str(error.value) == message


def test_batches_without_mixed_images_are_refused():
    loader = torch.utils.data.DataLoader([DataSample()], batch_size=1)
    with pytest.raises(InputError) as error:
        build('SuperMixClassifier', mixed_labels='data').check_loader(loader)
    assert str(error.value) == (
        'train_dataloader gives batches of images: SuperMixClassifier expects natural and mixed images, so '
        "batch_sampler=dict(type='NaturalMixedBatchSampler')"
    )
