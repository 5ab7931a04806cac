"""Which tensors of a checkpoint predict, which only served training, and which belong to another kind of network."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TypeVar

from mmpretrain.models import ImageClassifier
from torch import nn

# What an image classifier predicts with. Whatever else it has, only its training needs.
PREDICTING = ('backbone.', 'neck.', 'head.')

# The second network of a classifier that trains two (DCM), a plain classifier itself.
PEER = 'peer.'

# What only detectors, segmenters and the like have.
FOREIGN = (
    'auxiliary_head.',
    'bbox_head.',
    'decode_head.',
    'mask_head.',
    'panoptic_head.',
    'query_head.',
    'roi_head.',
    'rpn_head.',
    'track_head.',
)

Value = TypeVar('Value')


def without_wrapper(state: Mapping[str, Value]) -> dict[str, Value]:
    """``state`` without the ``module.`` that wrapped models leave before each name."""
    return {name.removeprefix('module.'): value for name, value in state.items()}


def predicting(state: Mapping[str, Value], model: nn.Module | None = None) -> dict[str, Value]:
    """The part of a classifier's ``state`` that it predicts with; ``model`` may say what that is (``predicting``)."""
    prefixes = getattr(model, 'predicting', PREDICTING)
    return {name: value for name, value in state.items() if name.startswith(prefixes)}


def predicting_names(model: nn.Module) -> list[str]:
    """Names of the tensors that ``model`` predicts with: all, unless it is an image classifier."""
    state = model.state_dict()
    return list(predicting(state, model) if isinstance(model, ImageClassifier) else state)


def network_part(state: Mapping[str, Value], network: int) -> dict[str, Value]:
    """The part of ``state`` with which network 0, or 1 of two, predicts, under the names of a plain classifier."""
    if network == 1:
        state = {name.removeprefix(PEER): value for name, value in state.items() if name.startswith(PEER)}
    return predicting(state)


def foreign_parts(names: Iterable[str]) -> list[str]:
    """First components of the ``names`` that no classifier has, sorted."""
    return sorted({name.split('.')[0] for name in names if name.startswith(FOREIGN)})
