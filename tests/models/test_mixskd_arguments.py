"""Sizes of the parts, and input that cannot work."""

import pytest
import torch
from mmpretrain.registry import MODELS

from mixskd_mm.errors import InputError
from mixskd_mm.models import MixSKDClassifier


def count(module):
    return sum(p.numel() for p in module.parameters())


def test_parameters_of_resnet50_on_imagenet(mixskd_cfg):
    cfg = mixskd_cfg(head=dict(num_classes=1000, in_channels=2048))
    model = MODELS.build({**cfg, 'backbone': dict(type='ResNet', depth=50)})
    assert count(model.backbone) + count(model.head) == 25_557_032
    assert count(model.branches) == 66_457_528
    assert count(model.self_teacher) == 18_826_216
    assert count(model) == 110_840_776 + count(model.discriminators)


@pytest.mark.parametrize('num_logits, discriminators', [(1, 263_172), (2, 263_688)])
def test_parameters_of_resnet18_on_cifar100(num_logits, discriminators, mixskd_cfg):
    model = MODELS.build(
        mixskd_cfg(
            backbone=dict(stem_channels=64, base_channels=64),
            head=dict(num_classes=100, in_channels=512),
            discriminator=dict(num_logits=num_logits),
        )
    )
    assert count(model.backbone) + count(model.head) == 11_220_132
    assert count(model.branches) == 30_060_076
    assert count(model.self_teacher) == 1_099_876
    assert count(model.discriminators) == discriminators
    assert count(model) == 42_380_084 + discriminators


def test_h_grows_with_the_stages_it_reads(build_mixskd):
    sizes = [count(build_mixskd(teacher_stages=stages).self_teacher) for stages in ([3], [1, 4], None)]
    assert sizes == [n * 64 * 64 + 64 * 10 + 10 for n in (1, 2, 4)]


def test_every_auxiliary_part_is_a_submodule_that_moves_with_the_model(build_mixskd):
    model = build_mixskd().to('meta')
    assert [name for name, p in [*model.named_parameters(), *model.named_buffers()] if p.device.type != 'meta'] == []
    assert {name.split('.')[0] for name, _ in model.named_parameters()} == {
        'backbone', 'head', 'branches', 'self_teacher', 'discriminators',
    }  # fmt: skip


def test_defaults_are_the_papers(build_mixskd):
    model = build_mixskd()
    assert (model.temperature, model.clean_weight, model.mixed_weight) == (3, 2, 1)
    assert (model.feature_weight, model.dis_weight) == (1, 1)
    assert model.logit_weight == dict(b_logit=1, cls_h=1, f_logit=1)
    assert model.teacher_stages == (1, 2, 3, 4)
    assert [tuple(p.shape) for p in model.discriminators[0].parameters()] == [(128, 64), (128,), (1, 128), (1,)]
    assert model.data_preprocessor.mixture.alpha == 0.2


def test_one_logit_weight_holds_for_all_three_terms_and_one_left_out_is_1(build_mixskd):
    assert build_mixskd(logit_weight=0.5).logit_weight == dict(b_logit=0.5, cls_h=0.5, f_logit=0.5)
    assert build_mixskd(logit_weight=dict(cls_h=2)).logit_weight == dict(b_logit=1, cls_h=2, f_logit=1)


NUMBERS = ['temperature', 'clean_weight', 'mixed_weight', 'feature_weight', 'dis_weight', 'logit_weight']
WRONG = {
    **{f'{name} {value}': ({name: value}, f'MixSKDClassifier {name}={value!r}: expected a finite number')
       for name in NUMBERS for value in (-0.1, float('nan'), float('inf'), '1', None, True)},
    'temperature 0': (dict(temperature=0), 'MixSKDClassifier temperature=0: expected a finite number > 0'),
    'one logit weight': (
        dict(logit_weight=dict(cls_h=-1)),
        'MixSKDClassifier logit_weight.cls_h=-1: expected a finite number >= 0',
    ),
    'unknown logit weight': (
        dict(logit_weight=dict(b=1)),
        "MixSKDClassifier logit_weight has the terms ['b']: expected some of ['b_logit', 'cls_h', 'f_logit']",
    ),
    'alpha 0': (
        dict(data_preprocessor=dict(alpha=0)),
        'MixupDataPreprocessor alpha=0: expected a finite number > 0',
    ),
    'alpha nan': (
        dict(data_preprocessor=dict(alpha=float('nan'))),
        'MixupDataPreprocessor alpha=nan: expected a finite number > 0',
    ),
    'augments': (
        dict(train_cfg=dict(augments=[dict(type='CutMix', alpha=1.0)])),
        "MixSKDClassifier train_cfg.augments=[{'type': 'CutMix', 'alpha': 1.0}]: expected none; what mixes images here is",
    ),
    'batch_augments': (
        dict(data_preprocessor=dict(batch_augments=dict(augments='Mixup'))),
        "MixupDataPreprocessor batch_augments={'augments': 'Mixup'}: expected None",
    ),
    'other preprocessor': (
        dict(data_preprocessor=dict(type='ClsDataPreprocessor')),
        'MixSKDClassifier data_preprocessor is a ClsDataPreprocessor: expected MixupDataPreprocessor',
    ),
    'head width': (
        dict(head=dict(in_channels=65)),
        'MixSKDClassifier head.in_channels=65: expected 64, the width of the last stage of backbone ResNet_CIFAR',
    ),
    'head classes': (
        dict(data_preprocessor=dict(num_classes=7)),
        'MixSKDClassifier head.num_classes=10 but data_preprocessor.num_classes=7: expected the same number',
    ),
    'head type': (
        dict(head=dict(type='VisionTransformerClsHead')),
        'MixSKDClassifier head is a VisionTransformerClsHead: expected a LinearClsHead, or a StackedLinearClsHead',
    ),
    'discriminator logits': (
        dict(discriminator=dict(num_logits=3)),
        'Discriminator num_logits=3: expected 1 (paper) or 2 (release)',
    ),
    'head loss': (
        dict(head=dict(loss=dict(type='LabelSmoothLoss', label_smooth_val=0.1))),
        'MixSKDClassifier head.loss is a LabelSmoothLoss: expected a plain CrossEntropyLoss',
    ),
    **{f'head loss {setting}': (
        dict(head=dict(loss=dict(type='CrossEntropyLoss', **setting))),
        f'MixSKDClassifier head.loss is a CrossEntropyLoss with {setting}: expected a plain CrossEntropyLoss',
    ) for setting in [
        dict(loss_weight=0.5), dict(use_sigmoid=True), dict(use_soft=True), dict(reduction='sum'),
        dict(class_weight=[1.0] * 10),
    ]},
}  # fmt: skip


@pytest.mark.parametrize('arguments, message', WRONG.values(), ids=WRONG.keys())
def test_wrong_arguments_end_in_one_line_that_names_value_and_expectation(arguments, message, mixskd_cfg):
    with pytest.raises(InputError) as error:
        MODELS.build(mixskd_cfg(**arguments))
    assert str(error.value).startswith(message)
    assert 'expected' in str(error.value)
    assert '\n' not in str(error.value)


@pytest.mark.parametrize(
    'stages, shown',
    [
        ([0], (0,)), ([5], (5,)), ([-1], (-1,)), ([1, 5], (1, 5)), ([1, 1], (1, 1)), ([], ()), (5, (5,)), ('all', ('all',)),
        ([1.5], (1.5,)), ([2.0], (2.0,)), ([True], (True,)), ([[1, 2]], ([1, 2],)),
    ],
)  # fmt: skip
def test_teacher_stages_out_of_range(stages, shown, mixskd_cfg):
    with pytest.raises(InputError) as error:
        MODELS.build(mixskd_cfg(teacher_stages=stages))
    assert str(error.value) == (
        f'MixSKDClassifier teacher_stages={shown!r}: expected different stages from 1 to 4, the number of stages of the '
        'backbone'
    )


@pytest.mark.parametrize(
    'stages, shown', [([0], (0,)), ([5, 1], (5, 1)), ([2, 2], (2, 2)), (None, (None,)), (1.0, (1.0,))]
)
def test_recompute_stages_out_of_range(stages, shown, mixskd_cfg):
    with pytest.raises(InputError) as error:
        MODELS.build(mixskd_cfg(recompute_stages=stages))
    assert str(error.value).startswith(
        f'MixSKDClassifier recompute_stages={shown!r}: expected different stages from 1 to 4'
    )


@pytest.mark.parametrize(
    'part, message',
    [
        ('head', 'MixSKDClassifier head is a NoneType: expected a LinearClsHead, or a StackedLinearClsHead'),
        ('neck', 'MixSKDClassifier neck is missing: expected a GlobalAveragePooling'),
    ],
)
def test_a_missing_part_is_named(part, message, mixskd_cfg):
    """Without a neck, the classifier would train but not predict."""
    with pytest.raises(InputError) as error:
        MODELS.build({**mixskd_cfg(), part: None})
    assert str(error.value) == message


@pytest.mark.parametrize('train_cfg', [None, dict(), dict(augments=None)])
def test_train_cfg_without_augments_is_accepted(train_cfg, build_mixskd):
    assert build_mixskd(train_cfg=train_cfg).data_preprocessor.batch_augments is None


def test_parts_may_be_modules(mixskd_cfg, make_batch):
    cfg = mixskd_cfg()
    parts = {part: MODELS.build(dict(cfg[part])) for part in ('backbone', 'neck', 'head')}
    preprocessor = MODELS.build(dict(type='MixupDataPreprocessor', alpha=0.3))
    model = MixSKDClassifier(**parts, data_preprocessor=preprocessor)
    assert all(getattr(model, part) is module for part, module in parts.items())
    assert model.data_preprocessor is preprocessor
    assert all(torch.isfinite(loss) for loss in model.loss(*make_batch()).values())


def test_the_config_is_left_as_it_was(mixskd_cfg):
    """A Runner dumps it after building."""
    cfg = mixskd_cfg(data_preprocessor=dict(alpha=0.3), discriminator=dict(num_logits=2), train_cfg=dict(augments=None))
    MODELS.build(cfg)
    assert cfg == mixskd_cfg(
        data_preprocessor=dict(alpha=0.3), discriminator=dict(num_logits=2), train_cfg=dict(augments=None)
    )
