"""Look at COCO annotations while mmdet reads them: afterwards it has forgotten what it did not take.

Importing this module imports mmdet.
"""

from __future__ import annotations

from mmdet.datasets import CocoDataset
from mmdet.datasets.api_wrappers import COCO

from mixskd_mm.errors import InputError

from .coco_annotations import inspect_annotations


class InspectedCOCO(COCO):
    """mmdet's reader of the annotations of a data set, which gets the attribute ``coco_annotations``.

    Args:
        dataset (CocoDataset): The data set.
        path (str): A local copy of its ``ann_file``.

    Raises:
        InputError: if the file is no JSON, if there is nothing to train on, or for what :func:`inspect_annotations` refuses.
    """

    def __init__(self, dataset: CocoDataset, path: str) -> None:
        self.owner = dataset
        try:
            super().__init__(path)
        except InputError:
            raise
        except (ValueError, AssertionError) as error:
            raise InputError(f'{dataset.ann_file} is no JSON of a dict ({error}): expected COCO annotations') from error

    def createIndex(self) -> None:
        owner = self.owner
        # Before what is missing ends the index in a KeyError.
        with_masks = any(getattr(step, 'with_mask', False) for step in owner.pipeline.transforms)
        found = inspect_annotations(self.dataset, owner.ann_file, owner.metainfo['classes'], with_masks)
        if not owner.test_mode and not found.boxes:
            raise InputError(f'{owner.ann_file} has no annotations: expected boxes to train on')
        owner.coco_annotations = found
        super().createIndex()
