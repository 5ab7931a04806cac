"""The recipes, against what the paper says (MixSKD, section 4.1 and appendix B.1; Tables 1 and 3)."""

from __future__ import annotations

import functools
import math
from dataclasses import dataclass, replace
from types import SimpleNamespace

import pytest
import tiny
import torch
from mmengine.config import Config
from mmengine.dataset import Compose
from mmengine.evaluator import Evaluator
from mmengine.hooks import ParamSchedulerHook
from mmengine.optim import build_optim_wrapper
from mmengine.registry import init_default_scope
from mmengine.runner import Runner
from mmpretrain.models.backbones.resnet import BasicBlock, Bottleneck
from mmpretrain.models.utils.batch_augments import Mixup
from mmpretrain.registry import DATASETS, MODELS
from torch import nn

from mixskd_mm.models.losses import discriminator_loss


@dataclass(frozen=True)
class Recipe:
    """One row of the paper's tables and the training behind it."""

    model: str
    alpha: float | None  # lam ~ Beta(alpha, alpha)
    depth: int
    channels: int  # that the classifier reads
    num_classes: int
    gpus: int
    batch: int  # of all GPUs
    weight_decay: float
    epochs: int
    parameters: int  # of backbone and classifier
    images: int  # in the training set
    size: int  # pixels
    mean: tuple[float, float, float]  # of RGB values from 0 to 1
    std: tuple[float, float, float]
    lr: float = 0.1
    momentum: float = 0.9
    warm_up_epochs: int = 5


IMAGENET = Recipe(
    model='ImageClassifier',
    alpha=None,
    depth=50,
    channels=2048,
    num_classes=1000,
    gpus=8,
    batch=256,
    weight_decay=1e-4,
    epochs=5 + 300,
    parameters=25_557_032,
    images=1_281_167,
    size=224,
    mean=(0.485, 0.456, 0.406),
    std=(0.229, 0.224, 0.225),
)
CIFAR = Recipe(
    model='ImageClassifier',
    alpha=None,
    depth=18,
    channels=512,
    num_classes=100,
    gpus=1,
    batch=128,
    weight_decay=5e-4,
    epochs=205,
    parameters=11_220_132,
    images=50_000,
    size=32,
    mean=(0.5071, 0.4867, 0.4408),
    std=(0.2675, 0.2565, 0.2761),
)
# The authors' script, where it differs.
RELEASE = replace(IMAGENET, model='MixSKDClassifier', alpha=0.2, batch=128)

RECIPES = {
    'baseline_r50_imagenet.py': IMAGENET,
    'mixup_r50_imagenet.py': replace(IMAGENET, alpha=0.2),
    'mixskd_r50_imagenet.py': replace(IMAGENET, model='MixSKDClassifier', alpha=0.2),
    'mixskd_r50_imagenet_release.py': RELEASE,
    'cifar100/baseline_r18_cifar100.py': CIFAR,
    'cifar100/mixup_r18_cifar100.py': replace(CIFAR, alpha=0.4),
    'cifar100/mixskd_r18_cifar100.py': replace(CIFAR, model='MixSKDClassifier', alpha=0.4),
}
# Auxiliary parameters: branches, self-teacher (Eq. 1, section 3.4).
AUXILIARY = {50: (66_457_528, 18_826_216), 18: (30_060_076, 1_099_876)}
CONFIGS = tiny.ROOT / 'configs'


def built_recipe(name):
    """Config and model, initialised, of a recipe."""
    cfg = Config.fromfile(CONFIGS / name)
    init_default_scope(cfg.default_scope)
    # As the Runner does.
    model = MODELS.build(dict(cfg.model, data_preprocessor=cfg.data_preprocessor))
    model.init_weights()
    return cfg, model


@pytest.fixture(scope='module')
def build():
    """:func:`built_recipe`, each only once."""
    return functools.cache(built_recipe)


@pytest.fixture(scope='module', params=RECIPES)
def built(request, build):
    return RECIPES[request.param], *build(request.param)


def test_every_recipe_is_in_the_table():
    found = {
        path.relative_to(CONFIGS).as_posix() for folder in ('.', 'cifar100') for path in (CONFIGS / folder).glob('*.py')
    }
    assert found == set(RECIPES)


def count(module):
    return sum(parameter.numel() for parameter in module.parameters())


def test_network(built):
    recipe, _, model = built
    assert type(model).__name__ == recipe.model
    assert count(model.backbone) + count(model.head) == recipe.parameters
    assert model.backbone.depth == recipe.depth
    assert (model.head.in_channels, model.head.num_classes) == (recipe.channels, recipe.num_classes)
    if recipe.model == 'MixSKDClassifier':
        assert (count(model.branches), count(model.self_teacher)) == AUXILIARY[recipe.depth]


def test_mixup(built):
    recipe, _, model = built
    if recipe.model == 'MixSKDClassifier':
        assert model.data_preprocessor.alpha == recipe.alpha
        assert model.data_preprocessor.batch_augments is None
    elif recipe.alpha is not None:
        augments = model.data_preprocessor.batch_augments
        (augment,) = augments.augments
        assert type(augment) is Mixup and augment.alpha == recipe.alpha
        assert augments.probs is None
        assert model.head.loss_module.use_soft
    else:
        assert model.data_preprocessor.batch_augments is None


def test_loss(built):
    recipe, _, model = built
    assert model.head.loss_module.loss_weight == 1
    assert not getattr(model.head.loss_module, 'label_smooth_val', None)
    if recipe.model != 'MixSKDClassifier':
        return
    assert model.temperature == 3
    assert model.logit_weight == dict(b_logit=1, cls_h=1, f_logit=1)
    assert (model.mixed_weight, model.feature_weight) == (1, 1)
    assert model.teacher_stages == (1, 2, 3, 4)
    # The paper; test_release below has the rest of the release's.
    assert model.clean_weight == (1 if recipe is RELEASE else 2)
    assert model.dis_weight == (0.25 if recipe is RELEASE else 1)


def last_norms(module):
    """The norm that ends the residual of each block."""
    for block in module.modules():
        if isinstance(block, BasicBlock):
            yield block.norm2
        elif isinstance(block, Bottleneck):
            yield block.norm3


def test_residual_branches_do_not_start_at_zero(built):
    recipe, _, model = built
    norms = list(last_norms(model))
    blocks = {18: [2, 2, 2, 2], 50: [3, 4, 6, 3]}[recipe.depth]
    branches = sum(blocks[1:]) + sum(blocks[2:]) + sum(blocks[3:]) if recipe.model == 'MixSKDClassifier' else 0
    assert len(norms) == sum(blocks) + branches
    assert all((norm.weight == 1).all() for norm in norms)


def test_optimiser(built):
    recipe, cfg, model = built
    optimizer = build_optim_wrapper(model, cfg.optim_wrapper).optimizer
    assert type(optimizer) is torch.optim.SGD
    for group in optimizer.param_groups:
        assert (group['lr'], group['momentum'], group['weight_decay']) == (
            recipe.lr,
            recipe.momentum,
            recipe.weight_decay,
        )
        assert not group['nesterov'] and group['dampening'] == 0
    optimised = {id(parameter) for group in optimizer.param_groups for parameter in group['params']}
    assert optimised >= {id(parameter) for parameter in model.parameters() if parameter.requires_grad}
    assert cfg.optim_wrapper.get('clip_grad') is None and cfg.optim_wrapper.get('accumulative_counts', 1) == 1


def test_batch_and_length(built):
    recipe, cfg, _ = built
    assert cfg.train_dataloader.batch_size * recipe.gpus == recipe.batch == cfg.auto_scale_lr.base_batch_size
    assert not cfg.auto_scale_lr.get('enable', False)
    assert cfg.train_cfg.by_epoch and cfg.train_cfg.max_epochs == recipe.epochs
    assert cfg.train_dataloader.sampler.type == 'DefaultSampler' and cfg.train_dataloader.sampler.shuffle
    # The sampler gives each GPU the same number of images.
    images_a_gpu = math.ceil(recipe.images / recipe.gpus)
    assert cfg.iters_per_epoch == math.ceil(images_a_gpu / cfg.train_dataloader.batch_size)


def steps(cfg, loader):
    """The pipeline of a loader's data set as built, without what loads and packs."""
    pipeline = Compose(cfg[loader].dataset.pipeline)
    return [step for step in pipeline.transforms if type(step).__name__ not in ('LoadImageFromFile', 'PackInputs')]


def test_augmentation(built):
    recipe, cfg, _ = built
    crop, flip = steps(cfg, 'train_dataloader')
    assert type(flip).__name__ == 'RandomFlip' and (flip.prob, flip.direction) == (0.5, 'horizontal')
    if recipe.size == 224:
        assert type(crop).__name__ == 'RandomResizedCrop'
        assert tuple(crop.scale) == (224, 224)
        assert tuple(crop.crop_ratio_range) == (0.08, 1.0) and tuple(crop.aspect_ratio_range) == (3 / 4, 4 / 3)
    else:
        assert type(crop).__name__ == 'RandomCrop'
        assert crop.crop_size == (32, 32)
        # Black, before normalisation.
        assert (crop.padding, crop.pad_val, crop.padding_mode) == (4, 0, 'constant')


@pytest.mark.parametrize('loader', ['val_dataloader', 'test_dataloader'])
def test_test_images(built, loader):
    recipe, cfg, _ = built
    transforms = steps(cfg, loader)
    assert not cfg[loader].sampler.shuffle
    assert not cfg[loader].get('drop_last', False)
    if recipe.size == 224:
        resize, crop = transforms
        assert type(resize).__name__ == 'ResizeEdge' and (resize.scale, resize.edge) == (256, 'short')
        assert type(crop).__name__ == 'CenterCrop' and crop.crop_size == (224, 224)
    else:
        assert transforms == []


def test_normalisation(built):
    """A red image of ImageNet's BGR files, or of CIFAR's RGB arrays, becomes (x - mean) / std in the order RGB."""
    recipe, _, model = built
    red = torch.zeros(1, 3, 2, 2, dtype=torch.uint8)
    red[:, 2 if recipe.size == 224 else 0] = 255
    normalised = model.data_preprocessor.eval()({'inputs': red})['inputs'][0, :, 0, 0]
    expected = [(value - mean) / std for value, mean, std in zip((1, 0, 0), recipe.mean, recipe.std, strict=True)]
    assert normalised.tolist() == pytest.approx(expected, abs=2e-3)


@pytest.mark.parametrize('evaluator', ['val_evaluator', 'test_evaluator'])
def test_top1_and_top5_are_reported(built, evaluator):
    _, cfg, _ = built
    (metric,) = Evaluator(cfg[evaluator]).metrics
    assert type(metric).__name__ == 'Accuracy' and tuple(metric.topk) == (1, 5)


def test_data(built):
    recipe, cfg, _ = built
    for loader, split in [('train_dataloader', 'train'), ('val_dataloader', 'val'), ('test_dataloader', 'val')]:
        dataset = cfg[loader].dataset
        assert dataset.type == ('ImageNet' if recipe.size == 224 else 'CIFAR100')
        assert DATASETS.get(dataset.type) is not None
        assert dataset.split == (split if recipe.size == 224 else split.replace('val', 'test'))


def learning_rates(cfg, epoch_length, epochs=None):
    """Learning rate of each iteration, from mmengine's own schedulers and the hook that steps them."""
    optim_wrapper = build_optim_wrapper(nn.Linear(1, 1), cfg.optim_wrapper)
    runner = SimpleNamespace(
        optim_wrapper=optim_wrapper, _train_loop=None, train_dataloader=range(epoch_length), logger=None
    )
    runner._build_param_scheduler = lambda *args: Runner._build_param_scheduler(runner, *args)
    schedulers = [dict(scheduler) for scheduler in cfg.param_scheduler]
    for scheduler in schedulers:
        scheduler.setdefault('end', cfg.train_cfg.max_epochs)
    runner.param_schedulers = Runner.build_param_scheduler(runner, schedulers)
    hook, rates = ParamSchedulerHook(), []
    optim_wrapper.step()
    for _ in range(epochs or cfg.train_cfg.max_epochs):
        for batch_idx in range(epoch_length):
            rates.append(optim_wrapper.param_groups[0]['lr'])
            hook.after_train_iter(runner, batch_idx)
        hook.after_train_epoch(runner)
    return rates


def shorten(cfg, epoch_length):
    """The same schedule for shorter epochs."""
    assert cfg.param_scheduler[0].start_factor == 1 / (5 * cfg.iters_per_epoch)
    cfg.param_scheduler[0].start_factor = 1 / (5 * epoch_length)
    return cfg


def warm_up(lr, iterations):
    """Linear from 0: the rate of iteration t is lr (t + 1) / iterations."""
    return [lr * (t + 1) / iterations for t in range(iterations)]


@pytest.mark.parametrize('name', RECIPES)
def test_warm_up_from_zero_in_five_epochs(name):
    recipe, cfg = RECIPES[name], Config.fromfile(CONFIGS / name)
    # With the real number of iterations.
    rates = learning_rates(cfg, cfg.iters_per_epoch, epochs=recipe.warm_up_epochs)
    assert rates == pytest.approx(warm_up(recipe.lr, 5 * cfg.iters_per_epoch), rel=1e-6)


@pytest.mark.parametrize('name', [name for name in RECIPES if name.startswith('cifar100')])
def test_cifar_rate_falls_after_epochs_105_and_155(name):
    cfg = Config.fromfile(CONFIGS / name)
    rates = learning_rates(shorten(cfg, 20), 20)
    expected = warm_up(0.1, 5 * 20) + 100 * 20 * [0.1] + 50 * 20 * [0.01] + 50 * 20 * [0.001]
    assert len(rates) == 205 * 20
    assert rates == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize('name', ['baseline_r50_imagenet.py', 'mixup_r50_imagenet.py', 'mixskd_r50_imagenet.py'])
def test_imagenet_rate_follows_a_cosine_to_zero(name):
    cfg, length = Config.fromfile(CONFIGS / name), 20
    rates = learning_rates(shorten(cfg, length), length)
    cosine = [0.05 * (1 + math.cos(math.pi * t / (300 * length))) for t in range(300 * length)]
    assert len(rates) == 305 * length
    assert rates == pytest.approx(warm_up(0.1, 5 * length) + cosine, rel=1e-6)
    assert rates[-1] < 1e-7


def test_release_rate_changes_once_an_epoch():
    cfg, length = Config.fromfile(CONFIGS / 'mixskd_r50_imagenet_release.py'), 20
    rates = learning_rates(shorten(cfg, length), length)
    epochs = [0.05 * (1 + math.cos(math.pi * (epoch - 5) / 300)) for epoch in range(5, 305)]
    expected = warm_up(0.1, 5 * length) + [rate for rate in epochs for _ in range(length)]
    assert rates == pytest.approx(expected, rel=1e-6)
    assert rates[-1] == pytest.approx(0.05 * (1 + math.cos(math.pi * 299 / 300)))


class TestRelease:
    """What the authors' ImageNet script does otherwise than the paper."""

    @pytest.fixture
    def built(self, build):
        return build('mixskd_r50_imagenet_release.py')

    def test_sixteen_images_a_gpu(self, built):
        assert built[0].train_dataloader.batch_size == 16

    def test_discriminators_have_two_logits_and_never_learn(self, built):
        _, model = built
        assert [d.mlp[-1].out_features for d in model.discriminators] == [2, 2, 2, 2]
        assert not any(parameter.requires_grad for parameter in model.discriminators.parameters())
        assert all(parameter.requires_grad for parameter in model.self_teacher.parameters())

    def test_discriminator_loss_is_the_released_one(self, built):
        """Mean binary cross-entropy over 2N x 2 entries: [1, 0] for interpolated features, [0, 1] for mixed ones."""
        _, model = built
        features = torch.randn(6, 2048, generator=torch.Generator().manual_seed(0))
        logits = 3 * model.discriminators[0](features)
        interpolated, mixed = logits[:3], logits[3:]
        targets = torch.tensor([[1.0, 0.0]] * 3 + [[0.0, 1.0]] * 3)
        expected = nn.BCELoss()(torch.sigmoid(logits), targets)
        torch.testing.assert_close(model.dis_weight * discriminator_loss(interpolated, mixed), expected)

    def test_classifiers_start_as_pytorch_initialises_them(self, built):
        _, model = built
        for head in (model.head, *(branch.head for branch in model.branches)):
            # U(-1/sqrt(2048), 1/sqrt(2048)), biases too; mmpretrain's is N(0, 0.01) and zero biases.
            limit = 2048**-0.5
            for values in (head.fc.weight, head.fc.bias):
                assert values.abs().max().item() == pytest.approx(limit, rel=0.01)
                assert values.std().item() == pytest.approx(limit / 3**0.5, rel=0.1)

    def test_the_paper_recipe_starts_classifiers_as_mmpretrain_does(self, build):
        _, model = build('mixskd_r50_imagenet.py')
        for head in (model.head, *(branch.head for branch in model.branches)):
            assert head.fc.weight.std().item() == pytest.approx(0.01, rel=0.05)
            assert (head.fc.bias == 0).all()


DIGITS = sorted(path.relative_to(CONFIGS).as_posix() for path in CONFIGS.glob('quickstart/*digits.py'))


@pytest.mark.parametrize('name', DIGITS)
def test_quickstart_models_build(build, name):
    cfg, model = build(name)
    assert model.head.num_classes == 10
    assert ('MixSKD' in type(model).__name__) == ('mixskd' in name)
    assert isinstance(Compose(cfg.train_dataloader.dataset.pipeline), Compose)


def test_quickstart_methods_share_their_schedule():
    cfgs = [Config.fromfile(CONFIGS / name) for name in DIGITS]
    for key in ('optim_wrapper', 'param_scheduler', 'train_cfg', 'train_dataloader', 'test_dataloader', 'randomness'):
        assert cfgs[0][key] == cfgs[1][key] == cfgs[2][key], key
    assert len(cfgs) == 3


def test_quickstart_warm_up_fits_its_epochs():
    cfg = Config.fromfile(CONFIGS / DIGITS[0])
    assert cfg.iters_per_epoch == math.ceil(200 / cfg.train_dataloader.batch_size)
    rates = learning_rates(cfg, cfg.iters_per_epoch)
    lr = cfg.optim_wrapper.optimizer.lr
    assert rates[: 5 * cfg.iters_per_epoch] == pytest.approx(warm_up(lr, 5 * cfg.iters_per_epoch), rel=1e-6)
    assert rates[-1] < 0.01 * lr


@pytest.mark.parametrize('name', [*RECIPES, *DIGITS])
def test_runs_can_resume_and_their_logs_wait_for_the_device_once_an_interval(name):
    cfg = Config.fromfile(CONFIGS / name)
    hooks = {hook.type for hook in cfg.custom_hooks}
    assert {'EpochSeedHook', 'RecipeCheckHook', 'FiniteCheckpointHook', 'CheckpointKeysHook'} <= hooks
    runtime_info = cfg.default_hooks.runtime_info
    assert runtime_info.type == 'DeferredRuntimeInfoHook'
    # None: the LoggerHook's.
    assert runtime_info.get('interval') is None
    assert cfg.randomness.seed is not None
    assert cfg.custom_imports == dict(imports=['mixskd_mm'], allow_failed_imports=False)
    if cfg.train_dataloader.num_workers:
        assert not cfg.train_dataloader.persistent_workers
        assert cfg.train_dataloader.worker_init_fn == dict(type='keep_loader_seed')
