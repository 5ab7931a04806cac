"""A network that exists already, as a classifier of this package."""

from __future__ import annotations

from copy import deepcopy

import torch
from mmpretrain.models import ImageClassifier
from mmpretrain.models.heads import LinearClsHead
from mmpretrain.models.necks import GlobalAveragePooling
from mmpretrain.registry import MODELS
from torch import Tensor, nn

from mixskd_mm.errors import InputError

from .base import SelfDistillationClassifier, preprocessor_settings
from .cut_checks import first_that_runs
from .fresh import init_quietly
from .mixing import MixupDataPreprocessor


class LastMapPooling(GlobalAveragePooling):
    """``GlobalAveragePooling`` for backbones that return one map, not a tuple of maps, which heads would take apart."""

    def forward(self, inputs: Tensor | tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        """Maps, ``(N, C_k, H_k, W_k)`` each, or the only one, to means, ``(N, C_k)`` each."""
        return super().forward(inputs if isinstance(inputs, tuple) else (inputs,))


def wrap(
    network: nn.Module, method: str = 'MixSKDClassifier', num_classes: int | None = None, **arguments
) -> SelfDistillationClassifier:
    """Make a classifier of this package of a network that exists, to train it with a method.

    The network is not copied, and it keeps its weights: ``init_weights()`` of the classifier, which a Runner calls, only
    draws those of the parts that the method adds, and that is done here already.

    Args:
        network (nn.Module): A plain ``ImageClassifier`` of mmpretrain, whose backbone, neck, head and normalisation stay;
            or a backbone: images ``(N, 3, H, W)`` to a map ``(N, C, H, W)`` or a tuple of maps, of which the last counts.
            That gets global average pooling and a new linear classifier.
        method (str): Registered name of the classifier. Defaults to ``MixSKDClassifier``.
        num_classes (int, optional): Of a backbone's new classifier. Defaults to None: an ``ImageClassifier`` has its own.
        arguments: Those of the method, such as ``temperature=4.0`` and ``data_preprocessor=dict(alpha=0.4)``. ``stages``
            say how the backbone is cut, unless it is of a family that docs/backbones.md lists.

    Returns:
        SelfDistillationClassifier: In training mode, on the network's device.

    Raises:
        InputError: if the method is none of this package's, or cannot train this network.
    """
    kind = MODELS.get(method)
    if not isinstance(kind, type) or not issubclass(kind, SelfDistillationClassifier):
        raise InputError(f'method={method!r}: expected the name of a classifier of mixskd_mm, such as MixSKDClassifier')
    preprocessor = dict(arguments.pop('data_preprocessor', None) or {})
    if isinstance(network, SelfDistillationClassifier):
        raise InputError(f'network is a {type(network).__name__}: expected its to_plain(), or a backbone')
    if isinstance(network, ImageClassifier):
        if num_classes is not None:
            raise InputError(
                f'num_classes={num_classes!r} beside an ImageClassifier: expected None, since it has a head'
            )
        old = network.data_preprocessor
        if isinstance(old, MixupDataPreprocessor) and not preprocessor.keys() & {'alpha', 'mixture'}:
            raise InputError(
                'network mixes images itself: expected data_preprocessor=dict(alpha=...), or mixture, beside it'
            )
        preprocessor = {**preprocessor_settings(old), **preprocessor}
        parts = dict(backbone=network.backbone, neck=network.neck, head=network.head)
    else:
        if num_classes is None:
            raise InputError('num_classes is missing: expected the number of classes of the classifier on a backbone')
        head = LinearClsHead(num_classes, map_channels(network))
        init_quietly(head)
        parts = dict(backbone=network, neck=LastMapPooling(), head=head)
    device = next((p.device for p in network.parameters()), torch.device('cpu'))
    try:
        classifier = kind(**parts, data_preprocessor=preprocessor, **arguments)
    except TypeError as error:
        raise InputError(f'{error}: expected arguments of {method}') from error
    classifier.init_training_parts()
    # A Runner would draw anew what the network has learnt.
    classifier.init_weights = classifier.init_training_parts
    return classifier.to(device).train()


@torch.no_grad()
def map_channels(backbone: nn.Module) -> int:
    """Channels of the last map of ``backbone``; nothing is computed. Raises InputError if it gives none."""
    kind = type(backbone).__name__
    copy = deepcopy(backbone).to('meta').eval()
    output = first_that_runs(lambda size: copy(torch.empty(1, 3, size, size, device='meta')), kind)
    output = output[-1] if isinstance(output, tuple) else output
    if not isinstance(output, Tensor) or output.ndim != 4:
        given = tuple(output.shape) if isinstance(output, Tensor) else type(output).__name__
        raise InputError(f'backbone {kind} gives {given}: expected a map (N, C, H, W), without pooling and classifier')
    return output.shape[1]
