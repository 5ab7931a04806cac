"""Load a classifier's weights, all of them or none."""

from __future__ import annotations

import logging
import os

from mmengine.logging import print_log
from mmengine.runner import CheckpointLoader
from torch import Tensor, nn

from mixskd_mm.errors import InputError

from .parts import predicting, predicting_names, without_wrapper


def load_weights(model: nn.Module, checkpoint: str, parts: tuple[str, ...] | None = None) -> None:
    """Load what ``model`` predicts with, and nothing else, from a checkpoint or an export.

    Args:
        model (nn.Module): A classifier.
        checkpoint (str): File, see :func:`read_weights`.
        parts (tuple[str, ...], optional): Load only tensors whose names begin so, e.g. ``('backbone.', )``. Defaults to
            None: all that the model predicts with.

    Raises:
        InputError: if the checkpoint cannot be read safely, if tensors of the backbone, the neck or the head are missing, of
            another shape or none of the model's, or if one holds NaN or an infinity.
    """
    source = f'checkpoint {checkpoint}'
    found, needed = (predicting(state, model) for state in (read_weights(checkpoint), model.state_dict()))
    if parts is not None:
        found, needed = ({n: v for n, v in state.items() if n.startswith(parts)} for state in (found, needed))
    # torchvision's older files have no counters of batches, which evaluation does not read.
    needed = {name: v for name, v in needed.items() if name in found or not name.endswith('.num_batches_tracked')}
    check_keys(shapes(needed), shapes(found), source, type(model).__name__)
    unexpected = [name for name in found if name not in needed]
    if unexpected:
        raise InputError(unexpected_tensors(source, unexpected, type(model).__name__))
    check_values(found, source)
    model.load_state_dict({**model.state_dict(), **found})


def read_weights(checkpoint: str) -> dict[str, Tensor]:
    """Tensors of a checkpoint, an export (``.safetensors`` too) or torchvision's weights, by mmpretrain's names.

    Raises:
        InputError: if it cannot be read safely.
    """
    if checkpoint.endswith('.safetensors'):
        return from_torchvision(load_safetensors(checkpoint))
    loaded = CheckpointLoader.load_checkpoint(checkpoint, map_location='cpu')
    return from_torchvision(without_wrapper(loaded.get('state_dict', loaded)))


def load_safetensors(file: str) -> dict[str, Tensor]:
    """Tensors of a safetensors file by name. Raises InputError if it is missing or none, or the library is."""
    try:
        from safetensors import SafetensorError
        from safetensors.torch import load_file
    except ImportError as error:
        raise InputError(f'checkpoint {file} needs safetensors: pip install safetensors') from error
    if not os.path.isfile(file):
        raise InputError(f'checkpoint {file} does not exist', file)
    try:
        return load_file(file)
    except (SafetensorError, OSError) as error:
        raise InputError(f'checkpoint {file} is damaged, cut short or no safetensors file ({error})') from error


def from_torchvision(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """mmpretrain's names of a ResNet's tensors, whichever the file has; torchvision has no prefix, and calls the head fc."""
    if 'conv1.weight' not in state:
        return state
    return {f'{"head" if name.startswith("fc.") else "backbone"}.{name}': value for name, value in state.items()}


def load_model(model: nn.Module, checkpoint: str) -> dict:
    """Load all of ``model``, with a checkpoint of its own training; what predicts suffices.

    What only training needs starts anew unless the checkpoint has all of it, with the same shapes.

    Args:
        model (nn.Module): A classifier, a detector or a segmenter.
        checkpoint (str): File or address.

    Returns:
        dict: The checkpoint's ``meta``.

    Raises:
        InputError: as :func:`load_weights`.
    """
    source, kind = f'checkpoint {checkpoint}', type(model).__name__
    loaded = CheckpointLoader.load_checkpoint(checkpoint, map_location='cpu')
    found = without_wrapper(loaded.get('state_dict', loaded))
    own, names = model.state_dict(), predicting_names(model)
    check_keys(shapes({name: own[name] for name in names}), shapes(found), source, kind)
    check_values(found, source)
    if len(names) < len(own):
        if shapes(own) == {name: shape for name, shape in shapes(found).items() if name in own}:
            names = list(own)
        else:
            model.init_training_parts()
            message = f'{source} has not all that only the training of {kind} needs: that starts from initial weights'
            print_log(message, logger='current', level=logging.WARNING)
    elif unexpected := [name for name in predicting(found, model) if name not in own]:
        raise InputError(unexpected_tensors(source, unexpected, kind))
    model.load_state_dict({**model.state_dict(), **{name: found[name] for name in names}})
    meta = loaded.get('meta')
    return meta if isinstance(meta, dict) else {}


def unexpected_tensors(source: str, names: list[str], kind: str) -> str:
    """One line about tensors of a checkpoint that the model does not have."""
    return f'{source} has {len(names)} tensors that {kind} does not have (first: {names[0]})'


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
