"""Refuse a checkpoint that belongs to another model, instead of silently keeping random weights."""

from __future__ import annotations

import torch
from mmengine.hooks import Hook
from mmengine.model import BaseTTAModel, is_model_wrapper
from mmengine.registry import HOOKS
from mmengine.runner import BaseLoop, find_latest_checkpoint
from torch import nn

from mixskd_mm.checkpoints.load import check_keys, check_values, shapes
from mixskd_mm.checkpoints.parts import predicting_names, without_wrapper
from mixskd_mm.checkpoints.structure import check_classes, check_training_state
from mixskd_mm.datasets.class_names import built_datasets, class_names
from mixskd_mm.errors import InputError

# What classifies, in mmpretrain's classifiers.
HEAD = 'head.'


@HOOKS.register_module()
class CheckpointKeysHook(Hook):
    """Compare a checkpoint with the model before mmengine loads it (which ignores what does not match).

    To test or start from a checkpoint it must hold all that the model predicts with, in the model's shapes; to resume,
    every tensor of the model and the state of the training. Extra tensors are fine: a plain classifier takes the
    checkpoint of any method.

    Args:
        partial_start (bool): Let a training start (``load_from``) from a checkpoint that fits in part, for example a
            detector of other classes, and print how much of it fits. Defaults to False.
        new_head (bool): Let a training start from a classifier of other classes: all but the head has to fit, and the head
            starts anew. Its names of the classes count, too, where both have them. Defaults to False.

    Raises:
        InputError: naming the file, how many tensors do not match and the first of them, one that is not finite, or what
            else is missing.
    """

    # Before EMAHook (NORMAL), which exchanges the weights of a checkpoint, or fails where this hook explains.
    priority = 'HIGH'

    def __init__(self, partial_start: bool = False, new_head: bool = False) -> None:
        self.partial_start, self.new_head = partial_start, new_head

    def after_load_checkpoint(self, runner, checkpoint: dict) -> None:
        model = unwrap(runner.model)
        state = model.state_dict()
        names = state if runner._resume else predicting_names(model)
        needed = {name: tuple(state[name].shape) for name in names}
        tensors = {
            name: value
            for name, value in without_wrapper(checkpoint.get('state_dict', checkpoint)).items()
            if isinstance(value, torch.Tensor)
        }
        found = shapes(tensors)
        source = source_of(runner)
        check_classes(checkpoint, source)
        check_values({name: value for name, value in tensors.items() if name in needed}, source)
        if self.partial_start and training(runner) and not runner._resume:
            fitting = sum(found.get(name) == shape for name, shape in needed.items())
            runner.logger.info(f'{source} fits {fitting} of the {len(needed)} tensors of {type(model).__name__}')
            return
        if (
            self.new_head
            and training(runner)
            and not runner._resume
            and self.is_other_head(runner, checkpoint, needed, found)
        ):
            anew = drop_other_classes(checkpoint, state)
            needed = {name: shape for name, shape in needed.items() if not name.startswith(HEAD)}
            check_keys(needed, found, source, model=type(model).__name__)
            runner.logger.info(
                f'{source} has other classes: its {len(needed)} tensors of backbone and neck are taken; the head starts anew'
                + (f', and so do {anew} tensors of classes that only training needs' if anew else '')
            )
            return
        try:
            check_keys(needed, found, source, model=type(model).__name__)
        except InputError as error:
            wrong = (name for name, shape in needed.items() if found.get(name) != shape)
            if training(runner) and not runner._resume and all(name.startswith(HEAD) for name in wrong):
                hint = 'default_hooks.checkpoint_keys.new_head=True lets the head start anew'
                raise InputError(f'{error}; {hint}') from error
            raise
        if runner._resume:
            check_training_state(checkpoint, source)

    @staticmethod
    def is_other_head(runner, checkpoint: dict, needed: dict, found: dict) -> bool:
        """Whether the head of a checkpoint is missing, has another shape than the model's, or other names of classes."""
        shaped = all(found.get(name) == shape for name, shape in needed.items() if name.startswith(HEAD))
        theirs = class_names((checkpoint.get('meta') or {}).get('dataset_meta'))
        ours = class_names(next(built_datasets(runner.train_dataloader.dataset)).metainfo)
        return not shaped or (None not in (theirs, ours) and theirs != ours)


def drop_other_classes(checkpoint: dict, state: dict) -> int:
    """Remove from ``checkpoint`` the head and all that has another shape than ``state``; how many of no head there were."""
    weights = checkpoint.get('state_dict', checkpoint)
    names = {name: name.removeprefix('module.') for name in weights}
    other = [
        name
        for name, own in names.items()
        if not own.startswith(HEAD) and own in state and state[own].shape != weights[name].shape
    ]
    for name in [*other, *(name for name, own in names.items() if own.startswith(HEAD))]:
        del weights[name]
    return len(other)


def unwrap(model: nn.Module) -> nn.Module:
    """The model inside a DDP wrapper, inside one for test-time augmentation, or inside both; or the model."""
    while is_model_wrapper(model) or isinstance(model, BaseTTAModel):
        model = model.module
    return model


def source_of(runner) -> str:
    """The checkpoint that ``runner`` has loaded, for messages."""
    return f'checkpoint {runner._load_from or find_latest_checkpoint(runner.work_dir)}'


def training(runner) -> bool:
    """Whether ``runner`` is about to train or training, rather than testing or validating only."""
    return isinstance(runner._train_loop, BaseLoop)
