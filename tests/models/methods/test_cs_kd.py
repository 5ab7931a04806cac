"""CS-KD: its terms against an independent computation, partners that teach and do not learn, batches of pairs."""

import pytest
import tiny
import torch
from mmengine.registry import init_default_scope
from mmengine.runner import Runner
from small_classifiers import NETWORKS, assert_terms, build, gradients, image_size, kd, labels_of

from mixskd_mm.errors import InputError
from mixskd_mm.models import Mixture

MIXTURE = Mixture(0.3, [2, 0, 3, 1])


@pytest.fixture
def make_pairs(make_batch):
    """Function: 4 images, then 4 partners with the same labels."""

    def pairs(size=16):
        images, samples = make_batch(8, size=size, dtype=torch.float64)
        return images, samples[:4] + samples[:4]

    return pairs


@pytest.mark.parametrize('mixture', [None, MIXTURE], ids=['clean', 'mixed'])
@pytest.mark.parametrize('backbone', NETWORKS.values(), ids=NETWORKS)
def test_terms_and_gradients_equal_an_independent_computation(mixture, backbone, make_pairs):
    preprocessor = dict(type='ClsDataPreprocessor' if mixture is None else 'MixupDataPreprocessor')
    model = build('CSKDClassifier', backbone, temperature=3.0, kd_weight=2.0, data_preprocessor=preprocessor)
    inputs, samples = make_pairs(image_size(backbone))
    losses = model.loss(inputs, samples, mixture)
    targets = torch.nn.functional.one_hot(labels_of(samples[:4]), 10).double()
    x, partners = inputs[:4], inputs[4:]
    if mixture is not None:
        x, partners, targets = (0.3 * t + 0.7 * t[[2, 0, 3, 1]] for t in (x, partners, targets))
    # Two forwards in training mode: each with the statistics of its own images.
    z, z_partner = (model.head.fc(model.backbone(part)[-1].mean((2, 3))) for part in (x, partners))
    expected = dict(loss_cls=-(targets * z.softmax(1).log()).sum() / 4, loss_kd=2 * kd(z, z_partner, 3))
    assert_terms(model, losses, expected)


def test_partners_do_not_learn(make_pairs):
    model = build('CSKDClassifier')
    inputs, samples = make_pairs()
    inputs.requires_grad_()
    for loss in model.loss(inputs, samples).values():
        (gradient,) = torch.autograd.grad(loss, inputs, retain_graph=True)
        assert gradient[:4].flatten(1).any(1).all() and not gradient[4:].any()


def test_an_image_that_is_its_own_partner_teaches_nothing(make_pairs):
    model = build('CSKDClassifier')
    inputs, samples = make_pairs()
    loss = model.loss(torch.cat([inputs[:4], inputs[:4]]), samples)['loss_kd']
    torch.testing.assert_close(loss, torch.tensor(0.0, dtype=torch.float64))


def test_running_statistics_are_those_of_images_and_then_partners(make_pairs):
    model, reference = build('CSKDClassifier'), build('ImageClassifier')
    inputs, samples = make_pairs()
    model.loss(inputs, samples)
    for part in inputs.split(4):
        reference.extract_feat(part)
    tiny.assert_same_state(dict(model.state_dict()), dict(reference.state_dict()))


def test_without_kd_the_plain_network_on_the_images_is_left(make_pairs):
    model, plain = build('CSKDClassifier', kd_weight=0), build('ImageClassifier')
    inputs, samples = make_pairs()
    losses, expected = model.loss(inputs, samples), plain.loss(inputs[:4], samples[:4])
    assert losses.keys() == {'loss_cls'}
    # float64. Not to the bit: the mean is taken in another order.
    torch.testing.assert_close(losses['loss_cls'], expected['loss'], rtol=1e-12, atol=0)
    actual, reference = gradients(losses['loss_cls'], model), gradients(expected['loss'], plain)
    torch.testing.assert_close(actual, reference, rtol=1e-10, atol=1e-14)
    tiny.assert_same_state(dict(model.state_dict()), dict(plain.state_dict()))


@pytest.mark.parametrize('kind', ['Mixup', 'CutMix'])
def test_the_preprocessor_draws_for_the_images_and_not_for_the_partners(kind, make_pairs):
    preprocessor = dict(type='MixupDataPreprocessor', mixture=dict(type=kind, alpha=1.0))
    model = build('CSKDClassifier', data_preprocessor=preprocessor)
    inputs, samples = make_pairs()
    data = model.data_preprocessor(dict(inputs=inputs, data_samples=samples), training=True)
    assert sorted(data['mixture'].index.tolist()) == [0, 1, 2, 3]
    given = model.loss(**dict(data, inputs=inputs))
    assert given['loss_kd'] > 0 and model.logs['lam'] == data['mixture'].lam.mean()
    # Drawn in loss() if it is not given.
    assert model.loss(inputs, samples)['loss_kd'] > 0


def test_a_loader_without_pairs_is_refused(tmp_path):
    init_default_scope('mmpretrain')
    cfg = tiny.make_config(tmp_path, method='baseline').train_dataloader
    model = build('CSKDClassifier')
    model.check_loader(Runner.build_dataloader(dict(cfg, batch_sampler=dict(type='PairBatchSampler')), seed=0))
    with pytest.raises(InputError) as error:
        model.check_loader(Runner.build_dataloader(cfg, seed=0))
    assert str(error.value) == (
        'train_dataloader gives batches of images: CSKDClassifier expects pairs, so '
        "batch_sampler=dict(type='PairBatchSampler')"
    )


def test_training_on_mixed_pairs(tmp_path):
    cfg = tiny.make_config(tmp_path, method='baseline')
    cfg.model.type = 'CSKDClassifier'
    cfg.train_dataloader.batch_sampler = dict(type='PairBatchSampler')
    cfg.data_preprocessor.update(type='MixupDataPreprocessor', alpha=0.4)
    logged = tiny.histories(tiny.train(cfg).message_hub)
    # 40 images, 10 per batch, 2 epochs.
    assert len(logged['train/lam']) == 8 and all(value > 0 for value in logged['train/loss_kd'])


def test_wrong_input_is_refused_in_one_line():
    for settings, message in (
        (dict(temperature=0), 'CSKDClassifier temperature=0: expected a finite number > 0'),
        (dict(kd_weight=-1), 'CSKDClassifier kd_weight=-1: expected a finite number >= 0'),
    ):
        with pytest.raises(InputError) as error:
            build('CSKDClassifier', **settings)
        assert str(error.value) == message
