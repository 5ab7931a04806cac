"""What a recipe is, read from what its config builds wherever that says more than the config."""

from __future__ import annotations

import contextlib
import copy
import functools
import math
from pathlib import Path
from types import SimpleNamespace
from unittest import mock

import pytest
import torch
from mmengine.config import Config
from mmengine.dataset import Compose
from mmengine.evaluator import Evaluator
from mmengine.hooks import ParamSchedulerHook
from mmengine.optim import build_optim_wrapper
from mmengine.registry import init_default_scope
from mmengine.runner import Runner
from mmpretrain.registry import DATASETS, MODELS
from recipes import CELLS, CONFIGS
from torch import nn

from mixskd_mm.models import MixupDataPreprocessor

# Of every recipe, pretraining or fine-tuning.
HOOKS = {
    'EpochSeedHook',
    'InterruptionHook',
    'LoaderCheckHook',
    'RecipeCheckHook',
    'ResumeCheckHook',
    'FiniteCheckpointHook',
}
HOOKS |= {'CheckpointKeysHook', 'LateRemovalCheckpointHook', 'ProvenanceHook', 'DeferredRuntimeInfoHook'}


@functools.cache
def read(name: str) -> Config:
    """The config of a recipe of ``CELLS``, or of another file below ``configs/``. Copy it before changing it."""
    if name in CELLS and CELLS[name].job:
        return CELLS[name].job.config(CONFIGS, Path('unused'))
    return Config.fromfile(CONFIGS / name)


def build(name: str, initialise: bool = True):
    """Config and model of a recipe; without ``initialise`` the weights are whatever was in memory, which is faster."""
    cfg = copy.deepcopy(read(name))
    init_default_scope(cfg.default_scope)
    with contextlib.ExitStack() as stack:
        for layer in () if initialise else (nn.Conv2d, nn.Linear):
            stack.enter_context(mock.patch.object(layer, 'reset_parameters', lambda self: None))
        # As the Runner does.
        model = MODELS.build(dict(cfg.model, data_preprocessor=cfg.data_preprocessor))
    if initialise:
        model.init_weights()
    return cfg, model


def count(module: nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())


def steps(cfg: Config, loader: str) -> list:
    """The pipeline of a loader's data set as built, without what loads and packs."""
    init_default_scope(cfg.default_scope)
    pipeline = Compose(cfg[loader].dataset.pipeline)
    return [step for step in pipeline.transforms if type(step).__name__ not in ('LoadImageFromFile', 'PackInputs')]


# What is said of a transform after its name; of others only the name.
SETTINGS = {
    'RandomCrop': ('crop_size', 'padding', 'pad_val', 'padding_mode'),
    'RandomFlip': ('prob', 'direction'),
    'RandomResizedCrop': ('scale', 'crop_ratio_range', 'aspect_ratio_range'),
    'ResizeEdge': ('scale', 'edge'),
    'CenterCrop': ('crop_size',),
}


def describe(step) -> tuple | str:
    # What is inside mmpretrain's wrapper of torchvision's transforms.
    step = getattr(step, 't', step)
    name = type(step).__name__
    values = (getattr(step, key) for key in SETTINGS.get(name, ()))
    described = (name, *(tuple(value) if isinstance(value, list) else value for value in values))
    return described if len(described) > 1 else name


def describe_mixture(mixture) -> tuple:
    """What draws, its alpha and, of several, its probability."""
    if hasattr(mixture, 'alpha'):
        return type(mixture).__name__, mixture.alpha
    return tuple((*describe_mixture(one), prob) for one, prob in zip(mixture.mixtures, mixture.probs, strict=True))


def normalised_red(preprocessor: nn.Module, dataset: str) -> list[float]:
    """A red image of ImageNet's BGR files, or of CIFAR's RGB arrays, as the network sees it, in the order RGB."""
    red = torch.zeros(1, 3, 2, 2, dtype=torch.uint8)
    red[:, 0 if dataset == 'CIFAR100' else 2] = 255
    return preprocessor({'inputs': red})['inputs'][0, :, 0, 0].tolist()


def facts(cfg: Config, model: nn.Module, gpus: int) -> dict:
    """All facts, by the names that ``recipes`` has for them."""
    optimizer = build_optim_wrapper(model, cfg.optim_wrapper).optimizer
    groups = optimizer.param_groups
    settings = {
        key: {group[key] for group in groups} for key in ('lr', 'momentum', 'dampening', 'nesterov', 'weight_decay')
    }
    optimised = {id(parameter) for group in groups for parameter in group['params']}
    loaders = [cfg[f'{split}_dataloader'] for split in ('train', 'val', 'test')]
    train, *tests = loaders
    assert all(DATASETS.get(loader.dataset.type) for loader in loaders)
    loss = model.head.loss_module
    assert not getattr(loss, 'label_smooth_val', None)
    preprocessor, mixture = model.data_preprocessor, None
    if isinstance(preprocessor, MixupDataPreprocessor):
        mixture = describe_mixture(preprocessor.mixture)
    metrics = [Evaluator(cfg[evaluator]).metrics for evaluator in ('val_evaluator', 'test_evaluator')]
    own = ('temperature', 'clean_weight', 'mixed_weight', 'feature_weight', 'dis_weight', 'logit_weight')
    return dict(
        {key: getattr(model, key) for key in (*own, 'teacher_stages', 'mix_at') if hasattr(model, key)},
        classifier=type(model).__name__,
        mixture=mixture,
        mixes_here=getattr(preprocessor, 'mixes_here', False),
        auxiliary=tuple(count(getattr(model, part)) for part in ('branches', 'self_teacher') if hasattr(model, part)),
        backbone=type(model.backbone).__name__,
        parameters=count(model.backbone) + count(model.head),
        in_channels=model.head.in_channels,
        num_classes=(model.head.num_classes, cfg.data_preprocessor.num_classes),
        from_scratch=cfg.load_from is None and 'Pretrained' not in str(cfg.model),
        loss=(type(loss).__name__, loss.loss_weight),
        batch_augments=preprocessor.batch_augments,
        optimiser=(type(optimizer).__name__, settings),
        all_parameters_optimised=optimised >= {id(p) for p in model.parameters() if p.requires_grad},
        clip_grad=cfg.optim_wrapper.get('clip_grad'),
        accumulative_counts=cfg.optim_wrapper.get('accumulative_counts', 1),
        scales_lr=cfg.auto_scale_lr.get('enable', False),
        recipe_batch=cfg.auto_scale_lr.base_batch_size,
        batch=train.batch_size * gpus,
        sampler=(train.sampler.type, train.sampler.shuffle),
        batch_sampler=train.get('batch_sampler'),
        iters_per_epoch=cfg.iters_per_epoch,
        loop=cfg.train_cfg.type,
        max_epochs=cfg.train_cfg.max_epochs,
        schedule=schedule(cfg),
        data=[(loader.dataset.type, loader.dataset.split) for loader in loaders],
        transforms=[describe(step) for step in steps(cfg, 'train_dataloader')],
        test_transforms=[[describe(step) for step in steps(cfg, f'{split}_dataloader')] for split in ('val', 'test')],
        test_shuffle={loader.sampler.shuffle for loader in tests},
        test_drop_last={loader.get('drop_last', False) for loader in tests},
        red=normalised_red(preprocessor, train.dataset.type),
        metrics=[(type(metric).__name__, tuple(metric.topk)) for (metric,) in metrics],
        **run_facts(cfg),
    )


def run_facts(cfg: Config) -> dict:
    """That runs can resume, and that their logs wait for the device once per interval (None: the LoggerHook's)."""
    train, runtime_info = cfg.train_dataloader, cfg.default_hooks.runtime_info
    anew = not train.get('persistent_workers') and train.get('worker_init_fn') == dict(type='keep_loader_seed')
    return dict(
        without_hooks=HOOKS - {hook.type for hook in cfg.default_hooks.values()},
        log_interval=(runtime_info.type, runtime_info.get('interval')),
        seeded=cfg.randomness.seed is not None,
        custom_imports=cfg.custom_imports,
        workers_start_anew=anew or train.num_workers == 0,
    )


def learning_rates(cfg: Config, epoch_length: int, epochs: int | None = None) -> list[float]:
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


def warm_up(lr: float, iterations: int) -> list[float]:
    """Linear from 0: the rate of iteration t is lr (t + 1) / iterations."""
    return [lr * (t + 1) / iterations for t in range(iterations)]


def steps_of(length: int) -> list[float]:
    return 100 * length * [0.1] + 50 * length * [0.01] + 50 * length * [0.001]


def cosine_of(length: int) -> list[float]:
    return [0.05 * (1 + math.cos(math.pi * t / (300 * length))) for t in range(300 * length)]


def epochwise_cosine_of(length: int) -> list[float]:
    epochs = [0.05 * (1 + math.cos(math.pi * (epoch - 5) / 300)) for epoch in range(5, 305)]
    return [rate for rate in epochs for _ in range(length)]


# What follows the warm-up, for epochs of so many iterations.
SCHEDULES = {
    'a tenth after epochs 105 and 155': steps_of,
    'cosine over 300': cosine_of,
    'cosine over 300 that changes once per epoch': epochwise_cosine_of,
}


def schedule(cfg: Config) -> str | None:
    """Name of the learning rates of the whole training, each iteration's; None if they have none here."""
    parts = {key: cfg[key] for key in ('optim_wrapper', 'param_scheduler', 'train_cfg', 'iters_per_epoch')}
    return schedule_of(Config(parts).pretty_text)


# Recipes have few, and some training has many iterations.
@functools.cache
def schedule_of(text: str) -> str | None:
    cfg, length = Config.fromstring(text, '.py'), 10
    # The warm-up with the real number of iterations, the rest with short epochs.
    real = learning_rates(cfg, cfg.iters_per_epoch, epochs=5)
    if real != pytest.approx(warm_up(0.1, 5 * cfg.iters_per_epoch), rel=1e-6):
        return None
    assert cfg.param_scheduler[0].start_factor == 1 / (5 * cfg.iters_per_epoch)
    cfg.param_scheduler[0].start_factor = 1 / (5 * length)
    rates = learning_rates(cfg, length)
    names = [
        name
        for name, rest in SCHEDULES.items()
        if rates == pytest.approx(warm_up(0.1, 5 * length) + rest(length), rel=1e-6)
    ]
    return f'warm-up over 5 epochs, {names[0]}' if names else None
