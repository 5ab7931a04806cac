"""Normalise a batch, check its labels, and draw how it is mixed."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from mmengine.dist import get_rank
from mmengine.logging import MessageHub
from mmpretrain.models.utils import ClsDataPreprocessor
from mmpretrain.registry import MODELS
from mmpretrain.structures import DataSample

from mixskd_mm.errors import InputError, check_number

from .mixture import Mixture


def training_rng(*stream: int) -> np.random.Generator:
    """The generator for this rank's draws in this training iteration; another ``stream`` draws independently.

    Inside a Runner's training loop it depends on the run's seed, the rank and the iteration alone: ranks draw
    differently, and a resumed run draws what the uninterrupted one would have drawn. Elsewhere it follows
    ``torch.manual_seed``.
    """
    hub = MessageHub.get_current_instance()
    if hub.runtime_info.get('loop_stage') == 'train':
        return np.random.default_rng([hub.get_info('seed'), get_rank(), hub.get_info('iter'), *stream])
    return np.random.default_rng(torch.randint(2**63 - 1, ()).item())


@MODELS.register_module()
class MixupDataPreprocessor(ClsDataPreprocessor):
    """``ClsDataPreprocessor`` that also draws the batch's :class:`Mixture` (MixSKD, Eq. 4) in training.

    The images stay clean: :class:`MixSKDClassifier` needs both the clean and the mixed ones and mixes them itself.

    Args:
        alpha (float): lam ~ Beta(alpha, alpha), > 0. Defaults to 0.2, the paper's value for ImageNet; it uses 0.4 on
            CIFAR-100 and the fine-grained sets.
        num_classes (int, optional): Labels are checked against it. Defaults to None: the classifier fills in its head's.
        batch_augments (dict, optional): Must stay None: a second way to mix images.
        kwargs: Those of mmpretrain's ``ClsDataPreprocessor`` (``mean``, ``std``, ``to_rgb``, ...).

    Raises:
        InputError: if ``alpha`` is not a finite number > 0 or ``batch_augments`` is given; in training, if a sample has no
            label, several or soft ones, or one outside ``[0, num_classes)``.
    """

    def __init__(
        self,
        alpha: float = 0.2,
        num_classes: int | None = None,
        batch_augments: dict | None = None,
        **kwargs,
    ) -> None:
        self.alpha = check_number('MixupDataPreprocessor alpha', alpha, positive=True)
        if batch_augments:
            raise InputError(
                f'MixupDataPreprocessor batch_augments={batch_augments!r}: expected None, since MixSKD mixes the images '
                'itself (with alpha) and needs the clean ones too'
            )
        super().__init__(num_classes=num_classes, **kwargs)
        # The host does not wait until the images are there; they come from pinned memory.
        self._non_blocking = True

    def draw(self, batch_size: int) -> Mixture:
        """Draw the mixture of a batch of ``batch_size`` clean images, on this module's device."""
        return Mixture.draw(batch_size, self.alpha, training_rng()).to(self.device)

    # Host work (checks, the draw, data samples), which a compiler can only break its graph on.
    @torch.compiler.disable
    def forward(self, data: dict, training: bool = False) -> dict:
        """Normalise ``data['inputs']``; in training add ``mixture``.

        Args:
            data (dict): ``inputs``, images of shape ``(N, 3, H, W)`` or a list of N, and ``data_samples``.
            training (bool): Whether to check labels and draw. Defaults to False.

        Returns:
            dict: ``inputs`` of shape ``(N, 3, H, W)``, ``data_samples`` and, in training, ``mixture``.
        """
        if not training:
            return super().forward(data, training)
        samples = data['data_samples']
        check_labels(samples, self.num_classes)
        # Without the samples, whose labels would move to the device, and the host wait for them.
        data = super().forward(dict(inputs=data['inputs']), training)
        return dict(data, data_samples=samples, mixture=self.draw(len(data['inputs'])))


def check_labels(data_samples: Sequence[DataSample], num_classes: int | None) -> None:
    """Raise InputError unless each sample has exactly one hard label, in ``[0, num_classes)``."""
    for sample in data_samples:
        where = sample.metainfo.get('img_path', 'a training image')
        if 'gt_score' in sample:
            raise InputError(f'{where} has a soft label (gt_score): MixSKD expects one class index an image')
        if 'gt_label' not in sample or sample.gt_label.numel() != 1:
            labels = sample.gt_label.tolist() if 'gt_label' in sample else None
            raise InputError(f'{where} has labels {labels}: MixSKD expects exactly one class index an image')
        label = sample.gt_label.item()
        if num_classes is not None and not 0 <= label < num_classes:
            raise InputError(
                f'{where} has label {label}: expected 0 to {num_classes - 1}, since num_classes={num_classes}'
            )
