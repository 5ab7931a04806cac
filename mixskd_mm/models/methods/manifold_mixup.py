"""Manifold Mixup (Verma et al., ICML 2019), one of the augmentations that MixSKD's Table 1 compares with."""

from __future__ import annotations

from collections.abc import Sequence

from mmpretrain.registry import MODELS
from mmpretrain.structures import DataSample
from torch import Tensor

from mixskd_mm.errors import InputError

from ..base import SelfDistillationClassifier
from ..mixing import Mixture, training_rng
from ..running import run_stage
from ..stages import cut_of


@MODELS.register_module()
class ManifoldMixupClassifier(SelfDistillationClassifier):
    """An ``ImageClassifier`` whose training mixes the activations of one random layer instead of the images.

    Args:
        args: Those of :class:`SelfDistillationClassifier`. The backbone must be one that can be cut into stages
            phi_1 ... phi_K; the ``alpha`` of its ``MixupDataPreprocessor`` is 2.0 in both.
        mix_at (Sequence[str | int], optional): Where mixing may happen, one place per batch with equal probability:
            ``'input'`` (the images: plain Mixup), ``'stem'`` (what enters phi_1), or k from 1 to K - 1 (the output of
            phi_k). Defaults to None: the stem and every k, as the authors of MixSKD ran it for Table 1; the original
            paper has ``('input', 1, 2)``.
        kwargs: Those of :class:`SelfDistillationClassifier`.

    Raises:
        InputError: if ``mix_at`` names no place or one that the backbone lacks, or the parts do not fit together.
    """

    mixing = 'always'

    def __init__(self, *args, mix_at: Sequence[str | int] | None = None, **kwargs) -> None:
        super().__init__(*args, **kwargs)
        places = ('input', 'stem', *range(1, len(cut_of(self.backbone).stages)))
        if mix_at is None:
            mix_at = places[1:]
        # Not True for 1.
        known = isinstance(mix_at, list | tuple) and all(
            type(place) in (str, int) and place in places for place in mix_at
        )
        if not known or not mix_at:
            raise InputError(f'{type(self).__name__} mix_at={mix_at!r}: expected some of {list(places)}')
        self.mix_at = tuple(mix_at)

    def losses(
        self, inputs: Tensor, labels: Tensor, mixture: Mixture, data_samples: list[DataSample]
    ) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
        """``loss``: cross-entropy of activations that are mixed at one place, against the mixed labels."""
        place = self.mix_at[training_rng('manifold').integers(len(self.mix_at))]
        feature = self.mixed_feature(inputs, mixture, place)
        return {'loss': self.mixed_loss(self.classify(feature), labels, mixture)}, {}

    def mixed_feature(self, inputs: Tensor, mixture: Mixture, place: str | int) -> Tensor:
        """F_K of ``inputs`` ``(N, 3, H, W)`` if their activations are mixed at ``place``."""
        cut = cut_of(self.backbone)
        x = mixture(inputs) if place == 'input' else inputs
        # k = 0 is the stem.
        for k in range(len(cut.stages) + 1):
            x = run_stage(self.backbone, cut, k, x)
            if k == (0 if place == 'stem' else place):
                x = mixture(x)
        return x
