"""Say before the first iteration what does not fit: labels that the head cannot have, a batch that is not the recipe's."""

from __future__ import annotations

import numpy as np
from mmengine.dist import get_world_size
from mmengine.hooks import Hook
from mmengine.model import is_model_wrapper
from mmengine.registry import HOOKS

from mixskd_mm.errors import InputError


@HOOKS.register_module()
class RecipeCheckHook(Hook):
    """Compare the data set and the global batch with the recipe before training starts.

    Raises:
        InputError: if a label of the training set is outside ``[0, num_classes)`` of the classification head.
    """

    def before_train(self, runner) -> None:
        model = runner.model.module if is_model_wrapper(runner.model) else runner.model
        num_classes = getattr(getattr(model, 'head', None), 'num_classes', None)
        if num_classes is not None:
            check_dataset_labels(runner.train_dataloader.dataset, num_classes)
        notice = batch_notice(
            recipe_batch=runner.cfg.get('auto_scale_lr', {}).get('base_batch_size'),
            scaled=runner.cfg.get('auto_scale_lr', {}).get('enable', False),
            num_processes=get_world_size(),
            batch_size=runner.train_dataloader.batch_sampler.batch_size,
            accumulative_counts=getattr(runner.optim_wrapper, '_accumulative_counts', 1),
            lr=runner.optim_wrapper.optimizer.defaults['lr'],
        )
        if notice:
            runner.logger.warning(notice)


def check_dataset_labels(dataset, num_classes: int) -> None:
    """Raise InputError if a hard label of ``dataset`` is outside ``[0, num_classes)``."""
    if not hasattr(dataset, 'get_gt_labels'):
        return
    labels = np.asarray(dataset.get_gt_labels())
    if labels.dtype == object or labels.ndim != 1:
        raise InputError(f'{type(dataset).__name__} has several labels an image: expected one class index each')
    if len(labels) and not (labels.min() >= 0 and labels.max() < num_classes):
        root = getattr(dataset, 'img_prefix', '') or getattr(dataset, 'data_root', '')
        raise InputError(
            f'{type(dataset).__name__} in {root!r} has labels {labels.min()} to {labels.max()}: expected 0 to '
            f'{num_classes - 1}, since head.num_classes={num_classes}'
        )


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
