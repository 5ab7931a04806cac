"""The facts of the paper's transfer experiments (appendix B.2, B.3; CIRKD), in what the downstream configs build."""

import downstream
import mmdet.registry
import mmseg.registry
import numpy as np
import pytest
import tiny
import torch
from facts import HOOKS
from mmengine.config import Config
from mmengine.model import revert_sync_batchnorm
from mmengine.optim import build_optim_wrapper
from mmengine.registry import PARAM_SCHEDULERS, DefaultScope, init_default_scope
from mmengine.structures import PixelData
from mmpretrain.registry import MODELS as CLASSIFIERS
from mmseg.structures import SegDataSample
from torch import nn

from mixskd_mm.api import COMPLETED_BY_DATA

CONFIGS = downstream.ROOT / 'configs'
DETECTION = CONFIGS / 'detection'
SEGMENTATION = CONFIGS / 'segmentation'
STARTS = {
    'mixskd': 'work_dirs/mixskd_r50_imagenet/epoch_305.pth',
    'baseline': 'work_dirs/baseline_r50_imagenet/epoch_305.pth',
}
CLASSES = {
    'deeplabv3': {'voc12aug': 21, 'ade20k': 150, 'coco-stuff164k': 171},
    'deeplabv3-paper': {'voc12aug': 21, 'ade20k': 150, 'coco-stuff164k': 182},
}

# What both sets take from the appendix, and what only one has. The names are those of facts().
APPENDIX = dict(
    iterations=40000,
    images_a_gpu=2,
    recipe_batch=16,
    lr=0.02,
    momentum=0.9,
    parameter_groups=1,
    crop=(512, 512),
    flip=0.5,
    test_mode='whole',
    backbone='ResNet',
    depth=50,
    output_stride=8,
    frozen_tensors=0,
    norm='SyncBatchNorm',
    aux_weight=0.4,
    aux_channels=256,
)
SETS = {
    'deeplabv3': dict(
        weight_decay=5e-4,
        last_lr=1e-4,
        mean=(123.675, 116.28, 103.53),
        std=(58.395, 57.12, 57.375),
        rgb=True,
        head='ASPPHead',
        channels=512,
        align_corners=False,
        avg_non_ignore=False,
        photometric=True,
        cat_max_ratio=0.75,
        test_resize=[(2048, 512)],
    ),
    'deeplabv3-paper': dict(
        weight_decay=1e-4,
        last_lr=0.02 * (1 / 40000) ** 0.9,
        mean=(104.00698793, 116.66876762, 122.67891434),
        std=(1.0, 1.0, 1.0),
        rgb=False,
        head='ProjectedASPPHead',
        channels=256,
        align_corners=True,
        avg_non_ignore=True,
        photometric=False,
        cat_max_ratio=1.0,
        test_resize=[],
    ),
}


def segmentation_config(kind, start, data):
    return SEGMENTATION / f'{kind}_r50-d8-{start}-pre_8xb2-40k_{data}-512x512.py'


def detection_config(start):
    return DETECTION / f'cascade-rcnn_r50-{start}-pre_fpn_1x_coco.py'


ALL_SEGMENTATION = [
    (kind, start, data) for kind in CLASSES for start in STARTS for data in ('voc12aug', 'ade20k', 'coco-stuff164k')
]
ALL = [detection_config(start) for start in STARTS] + [segmentation_config(*names) for names in ALL_SEGMENTATION]


@pytest.fixture(autouse=True)
def restore_scope():
    """The default scope is global: leave it as it was."""
    instances = dict(DefaultScope._instance_dict)
    yield
    DefaultScope._instance_dict.clear()
    DefaultScope._instance_dict.update(instances)


def load(path):
    cfg = Config.fromfile(path)
    init_default_scope(cfg.default_scope)
    return cfg


def build(cfg, device='meta'):
    """The model of a config, on a device without memory unless another is asked for."""
    library = {'mmdet': mmdet, 'mmseg': mmseg}[cfg.default_scope]
    with torch.device(device):
        return library.registry.MODELS.build(cfg.model)


def swaps_channels(preprocessor_cfg):
    """Whether the first channel of an image becomes the last."""
    preprocessor = mmseg.registry.MODELS.build(preprocessor_cfg)
    image = torch.zeros(3, 8, 8, dtype=torch.uint8)
    image[0] = 255
    inputs = preprocessor(dict(inputs=[image], data_samples=[SegDataSample()]))['inputs']
    return inputs[0, :, 0, 0].argmax().item() == 2


def lr_curve(cfg, iterations, epoch=None):
    """Learning rates of the optimiser that the config builds, iteration by iteration, under the config's schedulers."""
    model = nn.Linear(1, 1)
    optimizer = build_optim_wrapper(model, cfg.optim_wrapper).optimizer
    schedulers = [PARAM_SCHEDULERS.build(dict(scheduler, optimizer=optimizer)) for scheduler in cfg.param_scheduler]
    rates = []
    for iteration in range(iterations):
        rates.append(optimizer.param_groups[0]['lr'])
        optimizer.step()
        for scheduler in schedulers:
            if not scheduler.by_epoch or (iteration + 1) % epoch == 0:
                scheduler.step()
    return np.array(rates)


def test_these_are_all_configs():
    found = set(DETECTION.glob('*.py')) | set(SEGMENTATION.glob('*.py'))
    # Those of one's own data: tests/own_data.
    assert set(ALL) == {path for path in found if not path.stem.endswith(COMPLETED_BY_DATA)}


@pytest.mark.parametrize('path', (tiny.ROOT / 'configs/quickstart').glob('*.py'), ids=lambda path: path.stem)
def test_the_quickstart_has_the_hooks_of_the_recipes(path):
    hooks = {hook.type for hook in Config.fromfile(path).default_hooks.values()}
    assert HOOKS - hooks == set()


@pytest.mark.parametrize('path', ALL, ids=lambda path: path.stem)
def test_start_and_hooks(path):
    cfg = Config.fromfile(path)
    start = 'mixskd' if 'mixskd-pre' in path.stem else 'baseline'
    assert cfg.model.backbone.init_cfg == dict(type='Pretrained', checkpoint=STARTS[start], prefix='backbone.')
    assert cfg.model.get('pretrained') is None
    assert cfg.custom_imports == dict(imports=['mixskd_mm'], allow_failed_imports=False)
    # At the logger's interval.
    assert cfg.default_hooks.runtime_info == dict(type='DeferredRuntimeInfoHook')
    assert HOOKS - {hook.type for hook in cfg.default_hooks.values()} == set()
    assert cfg.default_hooks.logger.interval == 50
    assert cfg.randomness == dict(seed=0)


@pytest.mark.parametrize(
    'pair',
    [detection_config, *((k, d) for k in CLASSES for d in CLASSES[k])],
    ids=lambda pair: getattr(pair, '__name__', str(pair)),
)
def test_both_starts_share_everything_else(pair):
    one, other = (
        Config.fromfile(pair(start) if callable(pair) else segmentation_config(pair[0], start, pair[1])).to_dict()
        for start in STARTS
    )
    for cfg in (one, other):
        cfg['model']['backbone'].pop('init_cfg')
    assert one == other


def facts(cfg, model):
    """What SETS and APPENDIX name, read from built objects where there are any."""
    train = cfg.train_dataloader
    pipeline = train.dataset.get('datasets', [train.dataset])[0].pipeline
    by_type = {transform.type: transform for transform in pipeline}
    preprocessor = build(Config(dict(model=cfg.model.data_preprocessor, default_scope='mmseg')), device='cpu')
    optimizer = build_optim_wrapper(model, cfg.optim_wrapper).optimizer
    head, aux = model.decode_head, model.auxiliary_head
    assert head.align_corners == aux.align_corners == model.align_corners
    assert head.loss_decode.avg_non_ignore == aux.loss_decode.avg_non_ignore
    assert head.num_classes == aux.num_classes
    strides = [
        module.stride[0]
        for name, module in model.backbone.named_modules()
        if isinstance(module, nn.Conv2d) and 'downsample' not in name
    ]
    norms = {type(module) for module in model.modules() if 'BatchNorm' in type(module).__name__}
    assert all(module.training for module in model.train().modules())
    return dict(
        iterations=cfg.train_cfg.max_iters,
        images_a_gpu=train.batch_size,
        recipe_batch=cfg.auto_scale_lr.base_batch_size,
        lr=optimizer.defaults['lr'],
        momentum=optimizer.defaults['momentum'],
        weight_decay=optimizer.defaults['weight_decay'],
        parameter_groups=len(optimizer.param_groups),
        last_lr=lr_curve(cfg, 40000)[-1],
        crop=by_type['RandomCrop'].crop_size,
        cat_max_ratio=by_type['RandomCrop'].get('cat_max_ratio', 1.0),
        flip=by_type['RandomFlip'].prob,
        photometric='PhotoMetricDistortion' in by_type,
        test_mode=model.test_cfg.mode,
        test_resize=[t.get('scale') for t in cfg.test_dataloader.dataset.pipeline if 'Resize' in t.type],
        backbone=type(model.backbone).__name__,
        depth=model.backbone.depth,
        output_stride=2 * np.prod(strides),
        frozen_tensors=sum(not parameter.requires_grad for parameter in model.parameters()),
        norm=', '.join(kind.__name__ for kind in norms),
        mean=tuple(preprocessor.mean.flatten().tolist()),
        std=tuple(preprocessor.std.flatten().tolist()),
        rgb=swaps_channels(cfg.model.data_preprocessor),
        head=type(head).__name__,
        channels=head.channels,
        align_corners=head.align_corners,
        avg_non_ignore=head.loss_decode.avg_non_ignore,
        aux_weight=aux.loss_decode.loss_weight,
        aux_channels=aux.channels,
    )


@pytest.mark.parametrize(('kind', 'data'), [(kind, data) for kind in CLASSES for data in CLASSES[kind]])
def test_segmentation_facts(kind, data):
    cfg = load(segmentation_config(kind, 'mixskd', data))
    model = build(cfg)
    found = facts(cfg, model)
    expected = {**APPENDIX, **SETS[kind]}
    assert set(found) == set(expected)
    for name in expected:
        is_number = isinstance(expected[name], float | tuple)
        assert found[name] == (pytest.approx(expected[name], rel=1e-5) if is_number else expected[name]), name
    assert model.num_classes == CLASSES[kind][data]


def test_segmentation_learning_rate():
    paper = lr_curve(Config.fromfile(segmentation_config('deeplabv3-paper', 'mixskd', 'ade20k')), 40000)
    iterations = np.arange(40000)
    np.testing.assert_allclose(paper, 0.02 * (1 - iterations / 40000) ** 0.9, rtol=1e-6)
    # mmseg's has a floor of 1e-4, and reaches it in the last iteration.
    mm = lr_curve(Config.fromfile(segmentation_config('deeplabv3', 'mixskd', 'ade20k')), 40000)
    np.testing.assert_allclose(mm, 1e-4 + (0.02 - 1e-4) * (1 - iterations / 39999) ** 0.9, rtol=1e-6)


def test_paper_scales_the_original_image():
    cfg = load(segmentation_config('deeplabv3-paper', 'mixskd', 'ade20k'))
    scale = next(t for t in cfg.train_dataloader.dataset.pipeline if t.type == 'RandomChoice')
    transform = mmseg.registry.TRANSFORMS.build(scale)
    assert transform.prob is None
    sizes = []
    for (resize,) in (choice.transforms for choice in transform):
        labels = np.arange(60 * 100, dtype=np.uint8).reshape(60, 100)
        results = resize(dict(img=np.zeros((60, 100, 3), np.uint8), gt_seg_map=labels, seg_fields=['gt_seg_map']))
        assert results['gt_seg_map'].shape == results['img'].shape[:2]
        sizes.append(results['img'].shape[:2])
    assert sizes == [(6 * tenths, 10 * tenths) for tenths in range(5, 21)]


@pytest.mark.parametrize('start', STARTS)
def test_detection_facts(start):
    cfg = load(detection_config(start))
    model = build(cfg)
    assert type(model).__name__ == 'CascadeRCNN'
    backbone = model.backbone
    assert (type(backbone).__name__, backbone.depth, backbone.style) == ('ResNet', 50, 'pytorch')
    assert (backbone.frozen_stages, backbone.norm_eval) == (1, True)
    assert model.neck.num_outs == 5
    assert [head.num_classes for head in model.roi_head.bbox_head] == [80] * 3
    assert [part.assigner.pos_iou_thr for part in cfg.model.train_cfg.rcnn] == [0.5, 0.6, 0.7]
    optimizer = build_optim_wrapper(nn.Linear(1, 1), cfg.optim_wrapper).optimizer
    assert optimizer.defaults['lr'] == 0.02
    assert optimizer.defaults['momentum'] == 0.9
    assert optimizer.defaults['weight_decay'] == 1e-4
    assert cfg.optim_wrapper.get('clip_grad') is None
    for loader in (cfg.train_dataloader, cfg.test_dataloader):
        resize = next(t for t in loader.dataset.pipeline if t.type == 'Resize')
        assert resize == dict(type='Resize', scale=(1333, 800), keep_ratio=True)
    assert cfg.train_cfg.max_epochs == 12
    assert cfg.train_dataloader.batch_size == 2
    assert cfg.auto_scale_lr == dict(enable=False, base_batch_size=16)


def test_detection_learning_rate():
    epoch = 100
    rates = lr_curve(Config.fromfile(detection_config('mixskd')), 12 * epoch, epoch)
    warm_up = 0.02 * (0.001 + 0.999 * np.arange(500) / 499)
    np.testing.assert_allclose(rates[:500], warm_up, rtol=1e-6)
    np.testing.assert_allclose(rates[500 : 8 * epoch], 0.02)
    np.testing.assert_allclose(rates[8 * epoch : 11 * epoch], 0.002)
    np.testing.assert_allclose(rates[11 * epoch :], 0.0002)


def test_checkpoint_names_are_those_of_mixskd(monkeypatch):
    """The stand-in for a trained network has the names and shapes of the real one."""
    # Only names and shapes matter, and drawing 90 million numbers takes seconds.
    monkeypatch.setattr(nn.modules.conv._ConvNd, 'reset_parameters', lambda self: None)
    init_default_scope('mmpretrain')
    model = CLASSIFIERS.build(Config.fromfile(CONFIGS / 'mixskd_r50_imagenet.py').model)
    real = {name: value.shape for name, value in model.state_dict().items() if name.startswith('backbone.')}
    standin = torch.load(downstream.resnet50())['state_dict']
    assert {name: value.shape for name, value in standin.items() if name.startswith('backbone.')} == real
    assert len(real) == 318
    others = {name.split('.')[0] for name in model.state_dict()}
    assert others == {name.split('.')[0] for name in standin}


@pytest.mark.parametrize(
    'path',
    [detection_config('mixskd'), *(segmentation_config(kind, 'mixskd', 'voc12aug') for kind in CLASSES)],
    ids=lambda path: path.stem,
)
def test_backbone_takes_every_tensor(path, tmp_path):
    cfg = downstream.load_config(path, tmp_path)
    init_default_scope(cfg.default_scope)
    model = revert_sync_batchnorm(build(cfg, device='cpu'))
    model.init_weights()
    checkpoint = torch.load(downstream.resnet50())['state_dict']
    taken = model.backbone.state_dict()
    assert len(taken) == 318
    assert 'conv1.weight' in taken and 'bn1.running_var' in taken
    for name, value in taken.items():
        assert value.equal(checkpoint[f'backbone.{name}']), name


def test_usual_backbone_of_mmseg_would_miss_the_stem(tmp_path):
    """Why these configs do not have ResNetV1c, mmseg's default: three convolutions for one, without a word."""
    cfg = downstream.load_config(segmentation_config('deeplabv3', 'mixskd', 'voc12aug'), tmp_path)
    init_default_scope('mmseg')
    cfg.model.backbone.type = 'ResNetV1c'
    names = build(cfg).backbone.state_dict()
    assert 'conv1.weight' not in names and 'stem.0.weight' in names


@pytest.mark.parametrize(('kind', 'data'), [(kind, data) for kind in CLASSES for data in CLASSES[kind]])
def test_segmentation_data(kind, data, tmp_path):
    """Real files through the pipelines of each config: sizes, labels and what is ignored."""
    cfg = downstream.load_config(segmentation_config(kind, 'mixskd', data), tmp_path)
    init_default_scope('mmseg')
    np.random.seed(0)
    train = mmseg.registry.DATASETS.build(cfg.train_dataloader.dataset)
    test = mmseg.registry.DATASETS.build(cfg.test_dataloader.dataset)
    assert len(train) == len(test) == 2
    assert len(train.metainfo['classes']) == CLASSES[kind][data]
    assert len(train.metainfo['palette']) == CLASSES[kind][data]
    for i in range(2):
        sample = train[i]
        assert sample['inputs'].shape[1:] == sample['data_samples'].gt_sem_seg.shape
        assert max(sample['inputs'].shape[1:]) <= 64
    for i, (image, mask, boxes) in enumerate(downstream.scenes()):
        sample = test[i]
        labels = sample['data_samples'].gt_sem_seg.data[0].numpy()
        assert labels.shape == image.shape[:2]
        first = {'voc12aug': 1, 'ade20k': 1, 'coco-stuff164k': 0}[data]
        assert {digit + first for *_, digit in boxes} <= set(np.unique(labels))
        assert ((labels == downstream.IGNORED) == (mask == downstream.IGNORED)).all()
        background = {'voc12aug': 0, 'ade20k': 0, 'coco-stuff164k': CLASSES[kind][data] - 1}[data]
        assert ((labels == background) == (mask == 0)).all()
        if kind == 'deeplabv3-paper':
            assert sample['inputs'].shape == (3, *image.shape[:2])


@pytest.mark.parametrize('kind', CLASSES)
def test_normalisation_and_padding(kind):
    """What the network sees of a pixel with blue 10, green 20 and red 30, and beside a small image."""
    cfg = load(segmentation_config(kind, 'mixskd', 'voc12aug'))
    preprocessor = mmseg.registry.MODELS.build(cfg.model.data_preprocessor)
    image = torch.tensor([10, 20, 30], dtype=torch.uint8)[:, None, None].expand(3, 300, 400)
    sample = SegDataSample(gt_sem_seg=PixelData(data=torch.full((1, 300, 400), 3)))
    batch = preprocessor(dict(inputs=[image], data_samples=[sample]), training=True)
    pixel = {
        'deeplabv3': [(30 - 123.675) / 58.395, (20 - 116.28) / 57.12, (10 - 103.53) / 57.375],
        'deeplabv3-paper': [10 - 104.00698793, 20 - 116.66876762, 30 - 122.67891434],
    }[kind]
    expected = torch.zeros(1, 3, 512, 512)
    expected[..., :300, :400] = torch.tensor(pixel)[:, None, None]
    torch.testing.assert_close(batch['inputs'], expected)
    labels = torch.full((1, 512, 512), 255)
    labels[:, :300, :400] = 3
    assert batch['data_samples'][0].gt_sem_seg.data.equal(labels)
