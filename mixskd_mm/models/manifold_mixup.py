"""Manifold Mixup (Verma et al., ICML 2019), one of the augmentations that MixSKD's Table 1 compares with."""

from __future__ import annotations

from collections.abc import Sequence

from mmpretrain.models import ImageClassifier
from mmpretrain.registry import MODELS
from mmpretrain.structures import DataSample
from torch import Tensor, nn

from mixskd_mm.errors import InputError

from .losses import mixed_cross_entropy
from .mixskd import hard_labels
from .mixture import Mixture
from .preprocessor import MixupDataPreprocessor, training_rng
from .stages import stage_names


@MODELS.register_module()
class ManifoldMixupClassifier(ImageClassifier):
    """An ``ImageClassifier`` whose training mixes the activations of one random layer instead of the images.

    Args:
        backbone (dict | nn.Module): One that can be cut into stages phi_1 ... phi_K.
        mix_at (Sequence[str | int], optional): Where mixing may happen, one place a batch with equal probability:
            ``'input'`` (the images: plain Mixup), ``'stem'`` (what enters phi_1), or k from 1 to K - 1 (the output of
            phi_k). Defaults to None: the stem and every k, as the authors of MixSKD ran it for Table 1; the original
            paper has ``('input', 1, 2)``.
        data_preprocessor (dict | nn.Module, optional): A ``MixupDataPreprocessor``; its ``alpha`` is 2.0 in both.
        kwargs: Those of ``ImageClassifier``; its head needs a plain cross-entropy.

    Raises:
        InputError: if ``mix_at`` names no place or one that the backbone lacks, or the preprocessor is another.
    """

    def __init__(
        self,
        backbone: dict,
        mix_at: Sequence[str | int] | None = None,
        data_preprocessor: dict | None = None,
        **kwargs,
    ) -> None:
        if not isinstance(data_preprocessor, nn.Module):
            data_preprocessor = dict(data_preprocessor or {})
            data_preprocessor.setdefault('type', 'MixupDataPreprocessor')
        super().__init__(backbone, data_preprocessor=data_preprocessor, **kwargs)
        if not isinstance(self.data_preprocessor, MixupDataPreprocessor):
            raise InputError(
                f'{type(self).__name__} data_preprocessor is a {type(self.data_preprocessor).__name__}: expected '
                'MixupDataPreprocessor'
            )
        names = stage_names(self.backbone)
        places = ('input', 'stem', *range(1, len(names)))
        self.mix_at = places[1:] if mix_at is None else tuple(mix_at)
        if not self.mix_at or any(place not in places for place in self.mix_at):
            raise InputError(f'{type(self).__name__} mix_at={mix_at!r}: expected some of {list(places)}')
        if self.data_preprocessor.num_classes is None:
            self.data_preprocessor.num_classes = self.head.num_classes

    def forward(
        self,
        inputs: Tensor,
        data_samples: list[DataSample] | None = None,
        mode: str = 'tensor',
        mixture: Mixture | None = None,
    ):
        """As ``ImageClassifier.forward``; ``mixture`` is for mode ``loss`` only."""
        if mode == 'loss':
            return self.loss(inputs, data_samples, mixture)
        return super().forward(inputs, data_samples, mode)

    def loss(
        self,
        inputs: Tensor,
        data_samples: list[DataSample],
        mixture: Mixture | None = None,
        place: str | int | None = None,
    ) -> dict[str, Tensor]:
        """Cross-entropy of the mixed activations against the mixed labels.

        Args:
            inputs (Tensor): Clean, normalised images, ``(N, 3, H, W)``.
            data_samples (list[DataSample]): Their labels, one class index each.
            mixture (Mixture, optional): lam and the pairs. Defaults to None: drawn by the data preprocessor.
            place (str | int, optional): One of ``mix_at``. Defaults to None: drawn, from (seed, rank, iteration) like the
                mixture.

        Returns:
            dict[str, Tensor]: ``loss``, a 0-d tensor.
        """
        if mixture is None:
            mixture = self.data_preprocessor.draw(len(inputs))
        if place is None:
            place = self.mix_at[training_rng(1).integers(len(self.mix_at))]
        if place == 'input':
            features = self.extract_feat(mixture(inputs))
        else:
            index = 0 if place == 'stem' else place
            stage = getattr(self.backbone, stage_names(self.backbone)[index])
            handle = stage.register_forward_pre_hook(lambda module, args: (mixture(args[0]),))
            try:
                features = self.extract_feat(inputs)
            finally:
                handle.remove()
        logits = self.head(features)
        return {'loss': mixed_cross_entropy(logits, hard_labels(data_samples, logits.device), mixture)}
