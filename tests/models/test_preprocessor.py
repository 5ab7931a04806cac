import numpy as np
import pytest
import torch
from mmpretrain.models.utils import ClsDataPreprocessor
from mmpretrain.registry import MODELS
from mmpretrain.structures import DataSample

import mixskd_mm.models.mixing.rng as rng_module
from mixskd_mm.errors import InputError
from mixskd_mm.models import MaskMixture, Mixture, MixupDataPreprocessor

NORMALISE = dict(mean=[123.675, 116.28, 103.53], std=[58.395, 57.12, 57.375], to_rgb=True)


def images(as_list):
    x = torch.randint(256, (4, 3, 9, 7), generator=torch.Generator().manual_seed(0), dtype=torch.uint8)
    return list(x) if as_list else x


def data(as_list=True, labels=(0, 3, 1, 2)):
    return dict(inputs=images(as_list), data_samples=[DataSample().set_gt_label(label) for label in labels])


def value(mixture):
    return mixture.lam.item(), mixture.index.tolist()


@pytest.mark.parametrize('as_list', [True, False], ids=['list', 'tensor'])
@pytest.mark.parametrize('training', [True, False])
@pytest.mark.parametrize('cfg', [dict(), NORMALISE, dict(NORMALISE, pad_size_divisor=4, pad_value=7)])
def test_images_are_exactly_those_of_cls_data_preprocessor(cfg, training, as_list):
    ours = MixupDataPreprocessor(alpha=0.4, **cfg)(data(as_list), training)
    plain = ClsDataPreprocessor(**cfg)(data(as_list), training)
    assert ours['inputs'].dtype == torch.float32
    assert torch.equal(ours['inputs'], plain['inputs'])
    assert [s.gt_label.item() for s in ours['data_samples']] == [0, 3, 1, 2]


def test_draws_a_mixture_of_the_batch_in_training_only():
    preprocessor = MixupDataPreprocessor()
    mixture = preprocessor(data(), training=True)['mixture']
    assert isinstance(mixture, Mixture)
    assert sorted(mixture.index.tolist()) == [0, 1, 2, 3]
    assert set(preprocessor(data(), training=False)) == {'inputs', 'data_samples'}


def test_alpha_is_that_of_the_beta_distribution():
    """Draws of a large alpha are close to 1/2, those of a small one close to 0 or 1."""
    torch.manual_seed(0)
    far, near = MixupDataPreprocessor(alpha=1e-3), MixupDataPreprocessor(alpha=1e4)
    assert all(abs(near.draw(2).lam.item() - 0.5) < 0.05 for _ in range(50))
    assert sum(abs(far.draw(2).lam.item() - 0.5) > 0.49 for _ in range(50)) > 45
    assert MixupDataPreprocessor().mixture.alpha == 0.2


def test_outside_a_runner_draws_follow_torch_manual_seed_alone():
    preprocessor = MixupDataPreprocessor()
    torch.manual_seed(3)
    first, second = value(preprocessor.draw(8)), value(preprocessor.draw(8))
    torch.manual_seed(3)
    np.random.seed(9)
    assert value(preprocessor.draw(8)) == first
    assert value(preprocessor.draw(8)) == second
    assert first != second
    torch.manual_seed(4)
    assert value(preprocessor.draw(8)) != first


@pytest.fixture
def in_training(message_hub):
    """Function: put the current message hub into the state it has in iteration ``iteration`` of a run."""

    def enter(seed=1, iteration=5, stage='train'):
        message_hub.update_info('loop_stage', stage)
        message_hub.update_info('seed', seed)
        message_hub.update_info('iter', iteration)

    return enter


def test_in_a_run_a_draw_depends_on_seed_rank_and_iteration_alone(in_training, monkeypatch):
    preprocessor = MixupDataPreprocessor()

    def draw(seed=1, rank=0, iteration=5):
        in_training(seed, iteration)
        monkeypatch.setattr(rng_module, 'get_rank', lambda: rank)
        return value(preprocessor.draw(8))

    first = draw()
    # As after a resume: other generator states, other draws before.
    torch.manual_seed(77)
    np.random.seed(77)
    draw(iteration=4)
    assert draw() == first
    others = [draw(seed=2), draw(rank=1), draw(iteration=6), draw(seed=5, iteration=1), first]
    assert len({lam for lam, _ in others}) == 5
    assert len({tuple(index) for _, index in others}) == 5


def test_in_a_run_drawing_leaves_the_global_generators_alone(in_training):
    """Otherwise mixing would change what is augmented and dropped."""
    in_training()
    before = torch.get_rng_state(), np.random.get_state()[1].copy()
    MixupDataPreprocessor().draw(8)
    assert torch.equal(torch.get_rng_state(), before[0])
    assert (np.random.get_state()[1] == before[1]).all()


def test_draws_of_a_run_are_spread_like_the_beta_distribution(in_training):
    """Consecutive iterations are not alike, although each seeds a generator of its own."""
    lam = []
    for iteration in range(4000):
        in_training(iteration=iteration)
        lam.append(MixupDataPreprocessor(alpha=0.4).draw(1).lam.item())
    variance = 1 / (4 * 1.8)
    assert abs(np.mean(lam) - 0.5) < 5 * np.sqrt(variance / 4000)
    assert np.var(lam) == pytest.approx(variance, rel=0.06)
    assert abs(np.corrcoef(lam[:-1], lam[1:])[0, 1]) < 5 / np.sqrt(4000)


def test_validation_between_training_epochs_is_not_training(in_training):
    in_training(stage='val')
    torch.manual_seed(3)
    first = value(MixupDataPreprocessor().draw(8))
    assert value(MixupDataPreprocessor().draw(8)) != first


@pytest.mark.parametrize('alpha', [0, -0.2, float('nan'), float('inf'), '0.2', True])
def test_refuses_alpha(alpha):
    with pytest.raises(InputError) as error:
        MixupDataPreprocessor(alpha=alpha)
    assert str(error.value) == f'MixupDataPreprocessor alpha={alpha!r}: expected a finite number > 0'


def test_refuses_batch_augments():
    with pytest.raises(InputError) as error:
        MixupDataPreprocessor(batch_augments=dict(augments=[dict(type='CutMix', alpha=1.0)]))
    assert (
        'batch_augments=' in str(error.value) and 'CutMix' in str(error.value) and 'expected None' in str(error.value)
    )
    assert '\n' not in str(error.value)


def soft_sample():
    return DataSample().set_gt_label(1).set_gt_score(torch.tensor([0.5, 0.5, 0, 0]))


@pytest.mark.parametrize(
    'sample, message',
    [
        (DataSample().set_gt_label(4), 'has label 4: expected 0 to 3, since num_classes=4'),
        (DataSample().set_gt_label(-1), 'has label -1: expected 0 to 3, since num_classes=4'),
        (DataSample().set_gt_label([1, 2]), 'has labels [1, 2]: expected exactly one class index per image'),
        (DataSample(), 'has labels None: expected exactly one class index per image'),
        (soft_sample(), 'has a soft label (gt_score): expected one class index per image'),
    ],
    ids=['too_large', 'negative', 'several', 'none', 'soft'],
)
def test_refuses_labels_in_training_and_names_the_image(sample, message):
    batch = data()
    sample.set_metainfo(dict(img_path='folder/bad.jpg'))
    batch['data_samples'][2] = sample
    preprocessor = MixupDataPreprocessor(num_classes=4)
    with pytest.raises(InputError) as error:
        preprocessor(batch, training=True)
    assert str(error.value) == f'folder/bad.jpg {message}'


def test_does_not_look_at_labels_in_evaluation():
    batch = data(labels=(0, 1, 9, 2))
    assert set(MixupDataPreprocessor(num_classes=4)(batch, training=False)) == {'inputs', 'data_samples'}


def test_refuses_a_label_of_an_image_without_a_path():
    with pytest.raises(InputError, match=r'^a training image has label 9: expected 0 to 3, since num_classes=4$'):
        MixupDataPreprocessor(num_classes=4)(data(labels=(0, 1, 9, 2)), training=True)


def test_accepts_every_class_index():
    assert 'mixture' in MixupDataPreprocessor(num_classes=4)(data(labels=(0, 1, 2, 3)), training=True)


def test_the_classifier_fills_in_its_number_of_classes(build_mixskd):
    model = build_mixskd(data_preprocessor=dict(alpha=0.4))
    assert model.data_preprocessor.mixture.alpha == 0.4
    assert model.data_preprocessor.num_classes == 10
    with pytest.raises(InputError, match='has label 10: expected 0 to 9, since num_classes=10'):
        model.data_preprocessor(data(labels=(0, 1, 2, 10)), training=True)


def test_alpha_is_short_for_mixup():
    short, long = MixupDataPreprocessor(alpha=0.7), MixupDataPreprocessor(mixture=dict(type='Mixup', alpha=0.7))
    torch.manual_seed(5)
    first = value(short.draw(8))
    torch.manual_seed(5)
    assert value(long.draw(8)) == first


def test_draws_masks_of_the_size_of_the_images():
    preprocessor = MixupDataPreprocessor(mixture=dict(type='CutMix', alpha=1.0))
    mixture = preprocessor(data(), training=True)['mixture']
    assert isinstance(mixture, MaskMixture) and mixture.mask.shape == (1, 1, 9, 7)


def test_refuses_alpha_beside_a_mixture():
    with pytest.raises(
        InputError, match=r'^MixupDataPreprocessor alpha=0.4 beside mixture=[^\n]*: expected one of them$'
    ):
        MixupDataPreprocessor(alpha=0.4, mixture=dict(type='CutMix'))


def plain_classifier(**preprocessor):
    return MODELS.build(
        dict(
            type='ImageClassifier',
            backbone=dict(type='ResNet_CIFAR', depth=18, stem_channels=8, base_channels=8),
            neck=dict(type='GlobalAveragePooling'),
            head=dict(type='LinearClsHead', num_classes=4, in_channels=64),
            data_preprocessor=dict(type='MixupDataPreprocessor', **preprocessor),
        )
    )


@pytest.mark.parametrize('mixture', [dict(type='Mixup', alpha=1.0), dict(type='CutMix')], ids=['mixup', 'cutmix'])
def test_a_plain_classifier_trains_on_mixed_images_and_labels_from_the_same_draws(mixture):
    """The baseline: what the methods here would mix themselves, mixed before."""
    model = plain_classifier(mixture=mixture, num_classes=4)
    batch = data()
    torch.manual_seed(1)
    mixed = model.data_preprocessor(batch, training=True)
    torch.manual_seed(1)
    drawn = MixupDataPreprocessor(mixture=mixture)(data(), training=True)
    torch.testing.assert_close(mixed['inputs'], drawn['mixture'](drawn['inputs']))
    lam, index = drawn['mixture'].lam.item(), drawn['mixture'].index.tolist()
    labels = [0, 3, 1, 2]
    for sample, i, j in zip(mixed['data_samples'], range(4), index, strict=True):
        expected = torch.zeros(4)
        expected[labels[i]] += lam
        expected[labels[j]] += 1 - lam
        torch.testing.assert_close(sample.gt_score, expected)
    # The samples may be cached by the data set.
    assert not any('gt_score' in sample for sample in batch['data_samples'])
    log_p = model(mixed['inputs'], mode='tensor').log_softmax(1)
    scores = torch.stack([sample.gt_score for sample in mixed['data_samples']])
    torch.testing.assert_close(model(**mixed, mode='loss')['loss'], -(scores * log_p).sum(1).mean())


def test_a_plain_classifier_needs_the_number_of_classes():
    with pytest.raises(InputError, match=r'^MixupDataPreprocessor num_classes=None: expected a number for a plain'):
        plain_classifier(alpha=0.4).data_preprocessor(data(), training=True)


@pytest.mark.parametrize('training', [True, False])
@pytest.mark.parametrize('samples', [dict(), dict(data_samples=None)], ids=['absent', 'None'])
def test_images_without_samples_are_normalised_and_not_mixed(samples, training):
    ours = MixupDataPreprocessor(**NORMALISE)(dict(inputs=images(False), **samples), training)
    plain = ClsDataPreprocessor(**NORMALISE)(dict(inputs=images(False), **samples), training)
    assert set(ours) == {'inputs', 'data_samples'} and ours['data_samples'] is None
    assert torch.equal(ours['inputs'], plain['inputs'])
