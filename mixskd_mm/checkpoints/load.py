"""Load a classifier's weights, all of them or none."""

from __future__ import annotations

from mmengine.runner import CheckpointLoader
from torch import Tensor, nn

from mixskd_mm.errors import InputError

from .parts import predicting, without_wrapper


def load_weights(model: nn.Module, checkpoint: str) -> None:
    """Load what ``model`` predicts with, and nothing else, from a checkpoint.

    Raises:
        InputError: if the checkpoint cannot be read safely, if tensors of the backbone, the neck or the head are missing, of
            another shape or none of the model's, or if one holds NaN or an infinity.
    """
    source = f'checkpoint {checkpoint}'
    loaded = CheckpointLoader.load_checkpoint(checkpoint, map_location='cpu')
    found = predicting(without_wrapper(loaded.get('state_dict', loaded)), model)
    needed = predicting(model.state_dict(), model)
    check_keys(shapes(needed), shapes(found), source, type(model).__name__)
    unexpected = [name for name in found if name not in needed]
    if unexpected:
        raise InputError(
            f'{source} has {len(unexpected)} tensors that {type(model).__name__} does not have (first: {unexpected[0]})'
        )
    check_values(found, source)
    model.load_state_dict({**model.state_dict(), **found})


def check_values(state: dict[str, Tensor], source: str) -> None:
    """Raise InputError, naming ``source``, if a tensor has no values (device ``meta``), or one that is not finite."""
    for name, value in state.items():
        if value.is_meta:
            raise InputError(f'{source}: {name} has a shape but no values: expected weights')
        if value.is_floating_point() and not value.isfinite().all():
            raise InputError(f'{source}: {name} holds NaN or an infinity: expected finite weights')


def shapes(state: dict[str, Tensor]) -> dict[str, tuple]:
    return {name: tuple(value.shape) for name, value in state.items()}


def check_keys(needed: dict[str, tuple], found: dict[str, tuple], source: str, model: str) -> None:
    """Raise InputError unless ``found`` has every name of ``needed`` with the same shape."""
    missing = [name for name in needed if name not in found]
    reshaped = [name for name in needed if name in found and found[name] != needed[name]]
    if not missing and not reshaped:
        return
    problems = []
    if missing:
        problems.append(f'lacks {len(missing)} of the {len(needed)} tensors that {model} expects (first: {missing[0]})')
    if reshaped:
        name = reshaped[0]
        problems.append(
            f'has {len(reshaped)} of another shape (first: {name}, {found[name]} instead of {needed[name]})'
        )
    raise InputError(f'{source} {" and ".join(problems)}')
