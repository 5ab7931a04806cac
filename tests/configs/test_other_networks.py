"""Recipes for networks that the paper does not have: their own usual settings, as mmpretrain's configs have them."""

import facts
import pytest
from mmengine.config import Config
from mmengine.optim import build_optim_wrapper
from mmengine.registry import init_default_scope
from recipes import CONFIGS

import mixskd_mm.configs

NETWORKS = {
    'mobilenet-v2': 'mmpretrain::mobilenet_v2/mobilenet-v2_8xb32_in1k.py',
    'convnext-tiny': 'mmpretrain::convnext/convnext-tiny_32xb128_in1k.py',
}


@pytest.fixture
def own(tmp_path):
    """Function: mmpretrain's config of a network."""

    def read(network):
        (tmp_path / 'own.py').write_text(f'_base_ = {NETWORKS[network]!r}\n')
        return Config.fromfile(tmp_path / 'own.py')

    return read


@pytest.mark.parametrize('network', NETWORKS)
@pytest.mark.parametrize('method', ['baseline', 'mixskd'])
def test_all_but_the_method_is_as_in_mmpretrains_config(method, network, own):
    cfg, expected = facts.read(f'{method}_{network}_imagenet.py'), own(network)
    assert {'clip_grad': None, **cfg.optim_wrapper} == {'clip_grad': None, **expected.optim_wrapper}
    for key in ('param_scheduler', 'train_cfg', 'auto_scale_lr', 'val_evaluator', 'test_evaluator'):
        assert cfg[key] == expected[key], key
    for loader in ('train_dataloader', 'val_dataloader', 'test_dataloader'):
        for key in ('dataset', 'batch_size', 'sampler'):
            assert cfg[loader][key] == expected[loader][key], (loader, key)
    assert cfg.model.backbone == expected.model.backbone
    assert cfg.model.get('init_cfg') == expected.model.get('init_cfg')
    assert {key: cfg.data_preprocessor[key] for key in ('mean', 'std', 'to_rgb', 'num_classes')} == dict(
        expected.data_preprocessor
    )
    assert cfg.model.head.loss.type == 'CrossEntropyLoss' and not cfg.model.get('train_cfg')
    assert [hook.type for hook in cfg.get('custom_hooks', [])] == [
        hook.type for hook in expected.get('custom_hooks', [])
    ]
    assert cfg.custom_imports == dict(imports=['mixskd_mm'], allow_failed_imports=False)


def test_the_mixtures_of_convnext_are_its_own(own):
    ours = facts.read('mixskd_convnext-tiny_imagenet.py').data_preprocessor.mixture
    assert [(one.type, one.alpha, one.prob) for one in ours] == [
        (one.type, one.alpha, 0.5) for one in own('convnext-tiny').model.train_cfg.augments
    ]
    assert facts.read('mixskd_mobilenet-v2_imagenet.py').data_preprocessor.alpha == 0.2


def inverted_residuals(channels, width, blocks):
    """Of ``blocks`` blocks of MobileNetV2 with expansion 6: 1x1, depthwise 3x3 and 1x1 convolution, each with BN."""
    count = 0
    for _ in range(blocks):
        hidden = 6 * channels
        count += channels * hidden + 2 * hidden + 9 * hidden + 2 * hidden + hidden * width + 2 * width
        channels = width
    return count


def convnext_blocks(channels, width, blocks):
    """Downsampling, and ``blocks`` blocks: depthwise 7x7, layer norm, two linear layers, layer scale."""
    downsampling = 2 * channels + 4 * channels * width + width
    return downsampling + blocks * (
        50 * width + 2 * width + width * 4 * width + 4 * width + 4 * width * width + 2 * width
    )


COUNTS = {
    'mobilenet-v2': (
        3_504_872,
        1280,
        [
            inverted_residuals(24, 32, 3),
            inverted_residuals(32, 64, 4) + inverted_residuals(64, 96, 3),
            inverted_residuals(96, 160, 3) + inverted_residuals(160, 320, 1) + 320 * 1280 + 2 * 1280,
        ],
        0,
    ),
    'convnext-tiny': (
        28_589_128,
        768,
        [convnext_blocks(96, 192, 3), convnext_blocks(192, 384, 9), convnext_blocks(384, 768, 3)],
        2 * 768,
    ),
}


@pytest.mark.parametrize('network', NETWORKS)
def test_branches_have_the_later_stages_and_a_classifier_each(network):
    plain, width, (stage2, stage3, stage4), norm = COUNTS[network]
    _, baseline = facts.build(f'baseline_{network}_imagenet.py', initialise=False)
    _, model = facts.build(f'mixskd_{network}_imagenet.py', initialise=False)
    assert facts.count(baseline) == facts.count(model.backbone) + facts.count(model.head) == plain
    classifier = norm + (width + 1) * 1000
    assert [facts.count(branch) for branch in model.branches] == [
        stage2 + stage3 + stage4 + classifier,
        stage3 + stage4 + classifier,
        stage4 + classifier,
    ]


def test_layer_norm_and_biases_of_the_branches_do_not_decay():
    cfg, model = facts.build('mixskd_convnext-tiny_imagenet.py', initialise=False)
    groups = build_optim_wrapper(model, cfg.optim_wrapper).optimizer.param_groups
    decay = {id(p): group['weight_decay'] for group in groups for p in group['params']}
    assert decay.keys() == {id(p) for p in model.parameters()}
    for part in (model.backbone, model.branches):
        assert all(decay[id(p)] == (0.05 if p.ndim > 1 else 0) for p in part.parameters())


@pytest.mark.parametrize('network', NETWORKS)
def test_a_method_goes_onto_these_baselines(network):
    cfg = mixskd_mm.configs.read_config(
        str(CONFIGS / 'mixskd_r50_imagenet.py'), str(CONFIGS / f'baseline_{network}_imagenet.py')
    )
    init_default_scope(cfg.default_scope)
    assert cfg.model.type == 'MixSKDClassifier'
    assert cfg.model.backbone == facts.read(f'baseline_{network}_imagenet.py').model.backbone
