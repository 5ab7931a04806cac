"""Normalise a batch, check its labels, and draw how it is mixed."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from mmpretrain.models.utils import ClsDataPreprocessor
from mmpretrain.registry import MODELS, TASK_UTILS
from mmpretrain.structures import DataSample
from torch import Tensor

from mixskd_mm.errors import InputError, check_number

from .draw import MixtureChoice
from .mixture import Mixture
from .rng import training_rng

# mmpretrain's ImageClassifier gives each preprocessor the argument batch_augments, None or not; the methods here do not.
NOT_GIVEN = object()


@MODELS.register_module()
class MixupDataPreprocessor(ClsDataPreprocessor):
    """``ClsDataPreprocessor`` that also draws the batch's :class:`Mixture` (MixSKD, Eq. 4) in training.

    For the methods of this package the images stay clean: some need both the clean and the mixed ones, so the method mixes
    them. For a plain ``ImageClassifier`` images and labels are mixed here, from the same draws: that is the baseline
    "Mixup" (or "CutMix").

    Args:
        alpha (float, optional): Short for ``mixture=dict(type='Mixup', alpha=alpha)``. Defaults to 0.2 if no ``mixture``
            is given, the paper's value for ImageNet; it uses 0.4 on CIFAR-100 and the fine-grained sets.
        mixture (dict | list[dict], optional): Config of what draws, of ``TASK_UTILS``: ``Mixup``, ``CutMix`` or ``FMix``. Of
            a list one draws each batch, with the probability ``prob`` in its config. Defaults to None.
        num_classes (int, optional): Labels are checked against it. Defaults to None: the classifier fills in its head's; a
            plain ``ImageClassifier`` needs it here.
        batch_augments (dict, optional): Must stay None: a second way to mix images.
        kwargs: Those of mmpretrain's ``ClsDataPreprocessor`` (``mean``, ``std``, ``to_rgb``, ...).

    Raises:
        InputError: if ``alpha`` is not a finite number > 0, is given beside ``mixture``, or ``batch_augments`` is given; in
            training, if a sample has no label, several or soft ones, or one outside ``[0, num_classes)``.
    """

    def __init__(
        self,
        alpha: float | None = None,
        mixture: dict | Sequence[dict] | None = None,
        num_classes: int | None = None,
        batch_augments: dict | None = NOT_GIVEN,
        **kwargs,
    ) -> None:
        if batch_augments is not NOT_GIVEN and batch_augments:
            raise InputError(
                f'MixupDataPreprocessor batch_augments={batch_augments!r}: expected None, since it mixes the images itself '
                '(alpha, mixture)'
            )
        if alpha is not None and mixture is not None:
            raise InputError(f'MixupDataPreprocessor alpha={alpha!r} beside mixture={mixture!r}: expected one of them')
        super().__init__(num_classes=num_classes, **kwargs)
        if mixture is None:
            alpha = check_number('MixupDataPreprocessor alpha', 0.2 if alpha is None else alpha, positive=True)
            mixture = dict(type='Mixup', alpha=alpha)
        self.mixture = TASK_UTILS.build(mixture) if isinstance(mixture, dict) else MixtureChoice(mixture)
        self.mixes_here = batch_augments is not NOT_GIVEN
        # Equal parts of a batch that are mixed alike, such as images and their partners. A classifier that has them says so.
        self.parts = 1
        # The host does not wait until the images are there; they come from pinned memory.
        self._non_blocking = True

    def draw(self, batch_size: int, image_size: tuple[int, int] | None = None) -> Mixture:
        """Draw the mixture of a batch, on this module's device; that of one part, if it has several that are mixed alike.

        Args:
            batch_size (int): N, the number of clean images.
            image_size (tuple[int, int], optional): Their height and width; for masks only.
        """
        return self.mixture.draw(batch_size // self.parts, image_size, training_rng('mixture')).to(self.device)

    # Host work (checks, the draw, data samples), which a compiler can only break its graph on.
    @torch.compiler.disable
    def forward(self, data: dict, training: bool = False) -> dict:
        """Normalise ``data['inputs']``; in training add ``mixture``, or mix for a plain ``ImageClassifier``.

        Args:
            data (dict): ``inputs``, images of shape ``(N, 3, H, W)`` or a list of N, and ``data_samples``. Without the
                samples, or with None, images are normalised and nothing else, as by ``ClsDataPreprocessor``.
            training (bool): Whether to check labels and draw. Defaults to False.

        Returns:
            dict: ``inputs`` of shape ``(N, 3, H, W)``, ``data_samples`` and, in training, ``mixture``. For a plain
            ``ImageClassifier``: mixed ``inputs``, and ``data_samples`` with mixed labels (``gt_score``).
        """
        samples = data.get('data_samples')
        if not training or samples is None:
            return super().forward(data, training)
        check_labels(samples, self.num_classes)
        # Without the samples, whose labels would move to the device, and the host wait for them.
        inputs = super().forward(dict(inputs=data['inputs']), training)['inputs']
        mixture = self.draw(len(inputs), tuple(inputs.shape[2:]))
        if not self.mixes_here:
            return dict(inputs=inputs, data_samples=samples, mixture=mixture)
        return dict(inputs=mixture(inputs), data_samples=self._mix_labels(samples, mixture))

    def _mix_labels(self, samples: Sequence[DataSample], mixture: Mixture) -> list[DataSample]:
        """New samples with y~ = lam y_i + (1 - lam) y_j as ``gt_score`` ``(C, )``."""
        if self.num_classes is None:
            raise InputError('MixupDataPreprocessor num_classes=None: expected a number for a plain ImageClassifier')
        labels = hard_labels(samples, self.device)
        scores = mixture(F.one_hot(labels, self.num_classes).float())
        return [
            DataSample(metainfo=sample.metainfo).set_gt_label(sample.gt_label).set_gt_score(score)
            for sample, score in zip(samples, scores, strict=True)
        ]


# Data samples are Python objects: a compiler would specialise on each of them.
@torch.compiler.disable
def hard_labels(data_samples: Sequence[DataSample], device: torch.device) -> Tensor:
    """Class indices ``(N, )`` of the samples, on ``device``; the host does not wait for the copy."""
    return torch.cat([sample.gt_label for sample in data_samples]).to(device, non_blocking=True)


def check_labels(data_samples: Sequence[DataSample], num_classes: int | None) -> None:
    """Raise InputError unless each sample has exactly one hard label, in ``[0, num_classes)``."""
    for sample in data_samples:
        where = sample.metainfo.get('img_path', 'a training image')
        if 'gt_score' in sample:
            raise InputError(f'{where} has a soft label (gt_score): expected one class index per image')
        if 'gt_label' not in sample or sample.gt_label.numel() != 1:
            labels = sample.gt_label.tolist() if 'gt_label' in sample else None
            raise InputError(f'{where} has labels {labels}: expected exactly one class index per image')
        label = sample.gt_label.item()
        if num_classes is not None and not 0 <= label < num_classes:
            raise InputError(
                f'{where} has label {label}: expected 0 to {num_classes - 1}, since num_classes={num_classes}'
            )
