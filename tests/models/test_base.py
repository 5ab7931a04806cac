"""What all methods refuse: parts that would be ignored, batches without halves, no terms at all."""

import pytest
from mmpretrain.registry import MODELS
from small_classifiers import NETWORKS, build, config

from mixskd_mm.errors import InputError

BATCH_AUGMENTS = dict(augments=[dict(type='Mixup', alpha=1.0)])


@pytest.mark.parametrize(
    'arguments, message',
    [
        (
            dict(mixed_loss=dict(type='MixedCrossEntropyLoss')),
            "mixed_loss={'type': 'MixedCrossEntropyLoss'}: expected None where no images are mixed",
        ),
        (
            dict(data_preprocessor=dict(num_classes=10, batch_augments=BATCH_AUGMENTS)),
            'data_preprocessor.batch_augments is a RandomBatchAugment: expected None, since the mixed '
            'labels would be ignored',
        ),
    ],
)
@pytest.mark.parametrize('method', ['SADClassifier', 'CSKDClassifier'])
def test_refuses_what_would_be_ignored(method, arguments, message):
    with pytest.raises(InputError) as error:
        MODELS.build(config(method, NETWORKS['WRN'], **arguments))
    assert str(error.value) == f'{method} {message}'


def test_mixed_loss_is_accepted_where_images_are_mixed():
    mixes = dict(type='MixupDataPreprocessor')
    model = MODELS.build(
        config(
            'CSKDClassifier', NETWORKS['WRN'], data_preprocessor=mixes, mixed_loss=dict(type='MixedCrossEntropyLoss')
        )
    )
    assert type(model.mixed_loss).__name__ == 'MixedCrossEntropyLoss'


def test_refuses_to_train_without_terms(make_batch):
    model = MODELS.build(config('KDClassifier', NETWORKS['WRN'], ce_weight=0, kd_weight=0))
    with pytest.raises(InputError, match=r'^KDClassifier has no terms, since all weights are 0: expected one above 0$'):
        model.loss(*make_batch(2))


@pytest.mark.parametrize('kind', ['DDGSDClassifier', 'CSKDClassifier', 'SuperMixClassifier'])
def test_an_odd_batch_ends_in_one_line(kind, make_batch):
    arguments = dict(mixed_weight=0) if kind == 'SuperMixClassifier' else {}
    model = build(kind, **arguments).float()
    with pytest.raises(InputError, match=rf'^{kind} got a batch of 3 images: expected '):
        model.loss(*make_batch(3))
