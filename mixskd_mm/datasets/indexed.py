"""The index of each image in the set that is trained on."""

from __future__ import annotations

from mmengine.dataset import BaseDataset
from mmpretrain.registry import DATASETS


@DATASETS.register_module()
class IndexedDataset:
    """A data set whose samples say their index in it, ``sample_idx`` in ``data_samples``.

    A plain data set's samples do so already, and those of ``KFoldDataset`` and :class:`OnDeviceDataset`. Inside
    ``ConcatDataset``, ``RepeatDataset`` and ``ClassBalancedDataset`` they say their index in the inner data set, so several
    say the same one: wrap those. An image that a wrapper repeats has an index for each repetition.

    Args:
        dataset (dict | BaseDataset): The data set, or a wrapper around some.
    """

    def __init__(self, dataset: dict | BaseDataset) -> None:
        self.dataset = DATASETS.build(dataset) if isinstance(dataset, dict) else dataset

    @property
    def metainfo(self) -> dict:
        """The data set's."""
        return self.dataset.metainfo

    def full_init(self) -> None:
        """Read the annotations."""
        self.dataset.full_init()

    def __len__(self) -> int:
        return len(self.dataset)

    def get_data_info(self, i: int) -> dict:
        """Annotation of one image."""
        return dict(self.dataset.get_data_info(i), sample_idx=i)

    def __getitem__(self, i: int) -> dict:
        """One sample, ``inputs`` and ``data_samples``."""
        packed = self.dataset[i]
        packed['data_samples'].set_metainfo(dict(sample_idx=i))
        return packed
