"""The recipes, against what the paper says (MixSKD, section 4.1 and appendix B.1; Tables 1 and 3)."""

from __future__ import annotations

import copy
import functools
import math
from types import SimpleNamespace

import pytest
import torch
from mmengine.config import Config
from mmengine.dataset import Compose
from mmengine.evaluator import Evaluator
from mmengine.hooks import ParamSchedulerHook
from mmengine.optim import build_optim_wrapper
from mmengine.runner import Runner
from mmpretrain.models.backbones.resnet import BasicBlock, Bottleneck
from mmpretrain.registry import DATASETS, MODELS
from recipes import AUGMENTATIONS, CONFIGS, RECIPES, RELEASE, TYPES, build_recipe, count, read, steps
from torch import nn

from mixskd_mm.models import CutMix, Mixup, MixupDataPreprocessor
from mixskd_mm.models.losses import discriminator_loss


@pytest.fixture(scope='module')
def build():
    """:func:`build_recipe`, each only once."""
    return functools.cache(build_recipe)


@pytest.fixture(scope='module', params=RECIPES)
def built(request):
    return RECIPES[request.param], *build_recipe(request.param, initialise=False)


def test_every_recipe_is_in_the_table():
    folders = ('.', 'cifar100', 'fine_grained')
    found = {path.relative_to(CONFIGS).as_posix() for folder in folders for path in (CONFIGS / folder).glob('*.py')}
    own = {name for name in RECIPES if 'baseline' in name or name.endswith(('r18_cifar100.py', 'imagenet.py'))}
    assert own <= found


def test_network(built):
    recipe, cfg, model = built
    assert type(model).__name__ == TYPES.get(recipe.method, 'ImageClassifier')
    assert type(model.backbone).__name__ == recipe.network.type
    assert count(model.backbone) + count(model.head) == recipe.network.parameters
    assert (model.head.in_channels, model.head.num_classes) == (recipe.network.channels, recipe.num_classes)
    # From scratch.
    assert cfg.load_from is None and 'Pretrained' not in str(cfg.model)
    if recipe.method == 'mixskd' and recipe.network.auxiliary:
        assert (count(model.branches), count(model.self_teacher)) == recipe.network.auxiliary


def test_mixup(built):
    recipe, _, model = built
    preprocessor = model.data_preprocessor
    assert preprocessor.batch_augments is None
    if recipe.alpha is None:
        assert not isinstance(preprocessor, MixupDataPreprocessor)
    else:
        # One way for the baselines and the methods, so that all of them draw alike.
        assert type(preprocessor.mixture) is (CutMix if recipe.method == 'cutmix' else Mixup)
        assert preprocessor.mixture.alpha == recipe.alpha
        assert preprocessor.mixes_here == (recipe.method in ('mixup', 'cutmix'))
    if recipe.method == 'manifoldmixup':
        assert model.mix_at == ('stem', *range(1, recipe.network.stages))


def test_loss(built):
    recipe, _, model = built
    assert model.head.loss_module.loss_weight == 1
    assert not getattr(model.head.loss_module, 'label_smooth_val', None)
    if recipe.method != 'mixskd':
        return
    assert model.temperature == 3
    assert model.logit_weight == dict(b_logit=1, cls_h=1, f_logit=1)
    assert (model.mixed_weight, model.feature_weight) == (1, 1)
    assert model.teacher_stages == tuple(range(1, recipe.network.stages + 1))
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


@pytest.mark.parametrize(
    'name',
    [
        'baseline_r50_imagenet.py',
        'mixskd_r50_imagenet.py',
        'cifar100/mixskd_r18_cifar100.py',
        'fine_grained/mixskd_r18_cub.py',
    ],
)
def test_residual_branches_do_not_start_at_zero(build, name):
    recipe, (_, model) = RECIPES[name], build(name)
    norms, blocks = list(last_norms(model)), recipe.network.blocks
    branches = sum(blocks[1:]) + sum(blocks[2:]) + sum(blocks[3:]) if recipe.method == 'mixskd' else 0
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
    assert cfg.iters_per_epoch == recipe.iters_per_epoch


def test_augmentation(built):
    recipe, cfg, _ = built
    transforms = steps(cfg, 'train_dataloader')
    crop, flip, *others = transforms[3:] if recipe.method == 'randaugment' else transforms
    # test_augmentations.py looks at the others.
    assert len(others) == (recipe.method in AUGMENTATIONS and recipe.method != 'randaugment')
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
    recipe, cfg, _ = built
    red = torch.zeros(1, 3, 2, 2, dtype=torch.uint8)
    red[:, 2 if recipe.size == 224 else 0] = 255
    normalised = MODELS.build(cfg.data_preprocessor).eval()({'inputs': red})['inputs'][0, :, 0, 0]
    expected = [(value - mean) / std for value, mean, std in zip((1, 0, 0), recipe.mean, recipe.std, strict=True)]
    assert normalised.tolist() == pytest.approx(expected, abs=2e-3)


@pytest.mark.parametrize('evaluator', ['val_evaluator', 'test_evaluator'])
def test_top1_and_top5_are_reported(built, evaluator):
    _, cfg, _ = built
    (metric,) = Evaluator(cfg[evaluator]).metrics
    assert type(metric).__name__ == 'Accuracy' and tuple(metric.topk) == (1, 5)


def test_data(built):
    recipe, cfg, _ = built
    for loader, split in [('train', recipe.train_split), ('val', recipe.test_split), ('test', recipe.test_split)]:
        dataset = cfg[f'{loader}_dataloader'].dataset
        assert (dataset.type, dataset.split) == (recipe.dataset, split)
        assert DATASETS.get(dataset.type) is not None
    assert cfg.data_preprocessor.num_classes == recipe.num_classes


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
    recipe, cfg = RECIPES[name], read(name)
    # With the real number of iterations.
    rates = learning_rates(cfg, cfg.iters_per_epoch, epochs=recipe.warm_up_epochs)
    assert rates == pytest.approx(warm_up(recipe.lr, 5 * cfg.iters_per_epoch), rel=1e-6)


@pytest.mark.parametrize('name', [name for name in RECIPES if name.startswith(('cifar100', 'fine_grained'))])
def test_rate_falls_after_epochs_105_and_155(name):
    cfg = copy.deepcopy(read(name))
    rates = learning_rates(shorten(cfg, 4), 4)
    expected = warm_up(0.1, 5 * 4) + 100 * 4 * [0.1] + 50 * 4 * [0.01] + 50 * 4 * [0.001]
    assert len(rates) == 205 * 4
    assert rates == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize('name', [name for name in RECIPES if name.endswith('imagenet.py')])
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
    cfg = read(name)
    runtime_info = cfg.default_hooks.runtime_info
    assert runtime_info.type == 'DeferredRuntimeInfoHook'
    # None: the LoggerHook's.
    assert runtime_info.get('interval') is None
    assert cfg.randomness.seed is not None
    assert cfg.custom_imports == dict(imports=['mixskd_mm'], allow_failed_imports=False)
    if cfg.train_dataloader.num_workers:
        assert not cfg.train_dataloader.persistent_workers
        assert cfg.train_dataloader.worker_init_fn == dict(type='keep_loader_seed')
