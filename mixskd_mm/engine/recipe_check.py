"""Say before the first iteration what does not fit: labels that the head cannot have, a batch that is not the recipe's."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

import numpy as np
from mmengine.dist import get_world_size, is_main_process
from mmengine.hooks import Hook
from mmengine.registry import HOOKS
from mmpretrain.engine.hooks import SwitchRecipeHook
from mmpretrain.models.heads import LinearClsHead, StackedLinearClsHead
from torch import nn
from torch.utils.data import DataLoader

from mixskd_mm.datasets.class_names import (
    built_datasets,
    check_category_order,
    check_datasets_agree,
    check_same_classes,
    class_names,
    describe,
)
from mixskd_mm.datasets.coco_annotations import annotation_notices, inspect_when_read
from mixskd_mm.datasets.image_sizes import check_image_sizes
from mixskd_mm.datasets.label_maps import check_label_maps
from mixskd_mm.datasets.skipped_files import check_files_exist, no_images, reads_maps, skipped_notices, steps
from mixskd_mm.differences import check_compiler
from mixskd_mm.errors import InputError
from mixskd_mm.models import MixupDataPreprocessor, SelfDistillationClassifier

from .checkpoint_keys import source_of, training, unwrap
from .evaluator_check import check_evaluators, check_topk


@HOOKS.register_module()
class RecipeCheckHook(Hook):
    """Compare data sets, evaluators and the global batch with the recipe before training or testing starts.

    What is suspicious is logged as a warning, with numbers.

    Raises:
        InputError: if a data set is empty, lacks files, has annotations that cannot be, labels or classes that the head does
            not have, or other classes than the other set, or than the checkpoint that is tested or resumed; or if an
            evaluator does not fit.
    """

    def __init__(self) -> None:
        # The Runner builds hooks between the model, for which it imports mmdet, and the data sets.
        inspect_when_read()

    def after_load_checkpoint(self, runner, checkpoint: dict) -> None:
        if training(runner) and not runner._resume:
            # To start from weights of other classes is what pretraining is for.
            return
        loop = runner.train_loop if training(runner) else runner._test_loop or runner._val_loop
        dataset = next(built_datasets(loop.dataloader.dataset))
        expected = class_names((checkpoint.get('meta') or {}).get('dataset_meta'))
        names = class_names(getattr(dataset, 'metainfo', None))
        check_same_classes(names, describe(dataset), expected, source_of(runner))

    def before_train(self, runner) -> None:
        if not isinstance(runner.train_dataloader, DataLoader):
            # mmpretrain's vis_scheduler.py counts iterations, without data.
            return
        model = unwrap(runner.model)
        check_switches(runner.hooks, model)
        training_parts = list(built_datasets(runner.train_dataloader.dataset))
        check_data(runner, training_parts, model)
        validation_parts = []
        if runner._val_loop is not None:
            validation_parts = check_loop(runner, runner.val_loop, 'val_evaluator', model)
        check_datasets_agree([*training_parts, *validation_parts])
        if classifies(model) and model.head.cal_acc:
            check_topk(model.head.topk, model.head.num_classes, 'model.head.topk')
        if isinstance(model, SelfDistillationClassifier):
            model.check_loader(runner.train_dataloader)
            if (compiled := runner.cfg.get('compile')) not in (None, False):
                check_compiler(f'compile={compiled}')
        auto_scale_lr = runner.cfg.get('auto_scale_lr') or {}
        group = runner.optim_wrapper.optimizer.param_groups[0]
        notice = batch_notice(
            recipe_batch=auto_scale_lr.get('base_batch_size'),
            scaled=auto_scale_lr.get('enable', False),
            num_processes=get_world_size(),
            batch_size=runner.train_dataloader.batch_sampler.batch_size,
            accumulative_counts=getattr(runner.optim_wrapper, '_accumulative_counts', 1),
            # Before warm-up; schedulers keep it as initial_lr.
            lr=group.get('initial_lr', group['lr']),
        )
        say(runner, [notice])

    def before_test(self, runner) -> None:
        check_loop(runner, runner.test_loop, 'test_evaluator', unwrap(runner.model))


def check_switches(hooks: Iterable[Hook], model: nn.Module) -> None:
    """Raise InputError if a ``SwitchRecipeHook`` sets what ``model`` does not use, or makes another method of it."""
    name, preprocessor = type(model).__name__, model.data_preprocessor
    distils = isinstance(model, SelfDistillationClassifier)
    mixes = isinstance(preprocessor, MixupDataPreprocessor)
    for hook in hooks:
        for epoch, recipe in hook.schedule.items() if isinstance(hook, SwitchRecipeHook) else ():
            where = f'SwitchRecipeHook at epoch {epoch}'
            # None would not end the mixing, but is what a method that does not mix has anyway.
            if 'batch_augments' in recipe and (mixes or (distils and recipe['batch_augments'] is not None)):
                user = type(preprocessor).__name__ if mixes else name
                augments = recipe['batch_augments'] and type(recipe['batch_augments']).__name__
                raise InputError(
                    f'{where} has batch_augments={augments}: expected none, since {user} does not use them'
                )
            if distils and 'loss' in recipe:
                raise InputError(
                    f'{where} has loss={type(recipe["loss"]).__name__}: expected none, since {name} has its own terms'
                )


def say(runner, notices: Iterable[str | None]) -> None:
    """Log those of the notices that there are as warnings."""
    for notice in filter(None, notices):
        runner.logger.warning(notice)


def classifies(model: nn.Module) -> bool:
    """Whether a model gives each image scores of ``model.head.num_classes`` classes."""
    return isinstance(getattr(model, 'head', None), LinearClsHead | StackedLinearClsHead)


def check_loop(runner, loop, name: str, model: nn.Module) -> list:
    """Check data and evaluators of a validation or test loop, which the config calls ``name``. Returns its data sets."""
    parts = list(built_datasets(loop.dataloader.dataset))
    check_data(runner, parts, model)
    num_classes = model.head.num_classes if classifies(model) else None
    say(runner, check_evaluators(loop.evaluator.metrics, runner.cfg.get(name), name, parts, num_classes))
    return parts


def check_data(runner, datasets: Sequence, model: nn.Module) -> None:
    """Log what is suspicious of the data sets of a loader. Raise InputError for what cannot be, or does not fit."""
    heads, present = dense_head_classes(model), set()
    for dataset in datasets:
        check_not_empty(dataset)
        check_files_exist(dataset)
        check_classes(dataset, heads)
        if heads:
            say(runner, [check_image_sizes(dataset)])
        # Those to predict on have no labels.
        elif classifies(model) and hasattr(dataset, 'get_gt_labels') and 'gt_label' in dataset.get_data_info(0):
            present |= check_dataset_labels(dataset, model.head.num_classes)
        say(runner, annotation_notices(dataset))
        if is_main_process():
            say(runner, skipped_notices(dataset))
    if present:
        say(runner, [absent_notice(present, datasets[0], model.head.num_classes)])


def check_not_empty(dataset) -> None:
    """Raise InputError if ``dataset`` has no samples."""
    if len(dataset) == 0:
        raise InputError(no_images(dataset))


def dense_head_classes(model: nn.Module) -> dict[str, int]:
    """Number of classes of each head of a detector or segmenter that classifies boxes or pixels, by its name."""
    pattern = re.compile(r'(.*\.)?(bbox_head|mask_head|decode_head|auxiliary_head)(\.\d+)?')
    return {
        name: module.num_classes
        for name, module in model.named_modules()
        if pattern.fullmatch(name) and hasattr(module, 'num_classes')
    }


def check_classes(dataset, heads: dict[str, int]) -> None:
    """Raise InputError if a detector's or segmenter's data set has other classes than its annotations or the heads."""
    classes = getattr(dataset, 'metainfo', {}).get('classes')
    if not heads or classes is None:
        return
    check_category_order(dataset)
    for name, num_classes in heads.items():
        if num_classes != len(classes):
            raise InputError(
                f'{name}.num_classes={num_classes}: expected {len(classes)}, the classes of {describe(dataset)}'
            )
    # Those to predict on have none.
    if hasattr(dataset, 'ignore_index') and (reads_maps(dataset) or not steps(dataset)):
        check_label_maps(dataset, len(classes))


def check_dataset_labels(dataset, num_classes: int) -> set[int]:
    """The labels that occur in ``dataset``, if it has hard ones.

    Raises InputError if one is outside ``[0, num_classes)``.
    """
    if not hasattr(dataset, 'get_gt_labels'):
        return set()
    labels = np.asarray(dataset.get_gt_labels())
    if labels.dtype == object or labels.ndim != 1:
        raise InputError(f'{type(dataset).__name__} has several labels an image: expected one class index each')
    if len(labels) and not (labels.min() >= 0 and labels.max() < num_classes):
        raise InputError(
            f'{describe(dataset)} has labels {labels.min()} to {labels.max()}: expected 0 to '
            f'{num_classes - 1}, since head.num_classes={num_classes}'
        )
    return set(labels.tolist())


def absent_notice(present: set[int], dataset, num_classes: int) -> str | None:
    """One line if classes of the head are not among the labels ``present`` in ``dataset``, else None."""
    absent = sorted(set(range(num_classes)) - present)
    if not absent:
        return None
    names = class_names(getattr(dataset, 'metainfo', None)) or ()
    first = repr(names[absent[0]]) if absent[0] < len(names) else absent[0]
    return f'{describe(dataset)} has no image of {len(absent)} of the {num_classes} classes (first: {first})'


def batch_notice(
    recipe_batch: int | None,
    scaled: bool,
    num_processes: int,
    batch_size: int,
    accumulative_counts: int,
    lr: float,
) -> str | None:
    """One line if the global batch is not the recipe's, else None.

    Args:
        recipe_batch (int, optional): ``auto_scale_lr.base_batch_size``, the batch that the learning rate is meant for.
        scaled (bool): Whether ``--auto-scale-lr`` was given.
        num_processes (int): Number of GPUs.
        batch_size (int): Images a GPU and iteration.
        accumulative_counts (int): Iterations an optimiser step.
        lr (float): The optimiser's learning rate, after scaling if ``scaled``.
    """
    global_batch = num_processes * batch_size * accumulative_counts
    if recipe_batch is None or global_batch == recipe_batch:
        return None
    how = f'{num_processes} x {batch_size}' + (
        f' x {accumulative_counts} accumulated' if accumulative_counts > 1 else ''
    )
    # mmengine does not count accumulation.
    ratio = num_processes * batch_size / recipe_batch
    said = (
        f'--auto-scale-lr made the learning rate {lr:g}'
        if scaled
        else f'the learning rate stays {lr:g}; --auto-scale-lr would make it {lr * ratio:g}'
    )
    return f"The global batch is {global_batch} ({how}), not the recipe's {recipe_batch}: {said}"
