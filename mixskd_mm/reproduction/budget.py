"""Less than a whole recipe: fewer epochs and fewer training images, with the same shape of schedule."""

from __future__ import annotations

import math
from dataclasses import dataclass

from mmengine.config import Config

from mixskd_mm.errors import InputError
from mixskd_mm.resuming.schedule import scale_schedule, scaled


@dataclass(frozen=True)
class Budget:
    """How much of a recipe to train.

    Args:
        epochs (float): Share of its epochs (or iterations), in (0, 1]. Defaults to 1.
        subset (int): Train on one n-th of the training images, drawn once with a fixed seed. Defaults to 1: all.
    """

    epochs: float = 1.0
    subset: int = 1

    @classmethod
    def parse(cls, epochs: str, subset: int = 1) -> Budget:
        """From ``'full'`` or a share such as ``'0.1'``. Raises InputError outside (0, 1], or for a subset below 1."""
        try:
            share = 1.0 if epochs == 'full' else float(epochs)
        except ValueError:
            share = math.nan
        if not 0 < share <= 1:
            raise InputError(f"--budget {epochs}: expected 'full' or a share of the epochs, above 0 and at most 1")
        if subset < 1:
            raise InputError(f'--subset {subset}: expected n >= 1, to train on one n-th of the images')
        return cls(share, subset)

    def __str__(self) -> str:
        parts = [f'{self.epochs * 100:g} % of the epochs'] if self.epochs < 1 else []
        parts += [f'1/{self.subset} of the training images'] if self.subset > 1 else []
        return ', '.join(parts) or 'the full recipe'

    def scale(self, length: int) -> int:
        """``length`` epochs or iterations of the full recipe in this budget; at least 1."""
        return scaled(length, self.epochs)

    def apply(self, cfg: Config) -> None:
        """Shorten ``cfg``: its training loop, schedule and training set, in place.

        Raises:
            InputError: for a subset of what is not a classification data set.
        """
        if self.subset > 1:
            self._subset(cfg)
        loop = cfg.train_cfg
        for key in ('max_epochs', 'max_iters'):
            if key in loop:
                loop[key] = self.scale(loop[key])
                loop.val_interval = self.scale(loop.get('val_interval', 1))
                hook = cfg.default_hooks.checkpoint
                hook.interval = self.scale(hook.get('interval', 1))
        scale_schedule(cfg.param_scheduler, self.epochs, cfg.get('iters_per_epoch', 0) / self.subset)

    def _subset(self, cfg: Config) -> None:
        if cfg.get('default_scope') != 'mmpretrain':
            raise InputError(f'--subset {self.subset}: expected a table of classification, not {cfg.filename}')
        place, key = cfg.train_dataloader, 'dataset'
        if place.dataset.get('type') == 'NaturalAndMixedDataset':
            # Of the natural images: they make an epoch.
            place, key = place.dataset.datasets, 0
        # Its validation fold is the n-th part, of shuffled images.
        place[key] = dict(type='KFoldDataset', dataset=place[key], num_splits=self.subset, seed=0, test_mode=True)
