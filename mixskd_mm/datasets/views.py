"""Two views of an image, made by one run of the pipeline."""

from __future__ import annotations

from collections.abc import Sequence

from mmengine.dataset import default_collate
from mmengine.registry import FUNCTIONS

from mixskd_mm.errors import InputError


@FUNCTIONS.register_module()
def collate_two_views(data_batch: Sequence[dict]) -> dict:
    """A collate_fn for pipelines with mmpretrain's ``MultiView``: N images with two views each become a batch of 2N.

    ``MultiView`` runs what is random once per view; what is loaded before it is loaded once::

        pipeline = [
            dict(type='LoadImageFromFile'),
            dict(type='MultiView', num_views=2, transforms=[[
                dict(type='RandomResizedCrop', scale=224),
                dict(type='RandomFlip', prob=0.5, direction='horizontal'),
            ]]),
            dict(type='PackInputs'),
        ]

    Args:
        data_batch (Sequence[dict]): N samples; ``inputs`` is a list of two images ``(C, H, W)``, all of one size.

    Returns:
        dict: ``inputs``, ``(2N, C, H, W)``: all first views, then all second views in the same order; ``data_samples``,
        2N of them, likewise.

    Raises:
        InputError: if a sample has another number of views than two.
    """
    for sample in data_batch:
        views = sample['inputs']
        if not isinstance(views, list) or len(views) != 2:
            found = f'{len(views)} views' if isinstance(views, list) else 'one image'
            raise InputError(
                f"collate_two_views got {found} per sample: expected dict(type='MultiView', num_views=2, ...) in the "
                'pipeline'
            )
    first = [dict(sample, inputs=sample['inputs'][0]) for sample in data_batch]
    # Samples of their own, since preprocessors write into them.
    second = [
        dict(sample, inputs=sample['inputs'][1], data_samples=sample['data_samples'].clone()) for sample in data_batch
    ]
    return default_collate(first + second)


# What a batch consists of; classifiers ask for it.
collate_two_views.contents = 'two views'
