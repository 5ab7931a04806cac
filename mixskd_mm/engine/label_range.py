"""Refuse labels that are no class, in each label map that a segmenter is trained or tested with."""

from __future__ import annotations

from mmengine.hooks import Hook
from mmengine.registry import HOOKS

from mixskd_mm.datasets.label_maps import check_labels


@HOOKS.register_module()
class LabelMapHook(Hook):
    """Look at the label maps of each batch, which are on the CPU still.

    A loss would end in an error of the device that names no file, and metrics leave out such pixels without a word.

    Raises:
        InputError: naming the file and the label.
    """

    def before_train_iter(self, runner, batch_idx: int, data_batch: dict | None = None) -> None:
        check_batch(data_batch, runner.train_dataloader.dataset)

    def before_val_iter(self, runner, batch_idx: int, data_batch: dict | None = None) -> None:
        check_batch(data_batch, runner.val_dataloader.dataset)

    def before_test_iter(self, runner, batch_idx: int, data_batch: dict | None = None) -> None:
        check_batch(data_batch, runner.test_dataloader.dataset)


def check_batch(batch: dict, dataset) -> None:
    """Raise InputError if a label map in a batch of ``dataset`` has a label that is no class."""
    classes = dataset.metainfo.get('classes')
    for sample in batch['data_samples'] if classes else ():
        if 'gt_sem_seg' in sample:
            ignore_index = getattr(dataset, 'ignore_index', 255)
            check_labels(sample.gt_sem_seg.data, len(classes), ignore_index, sample.seg_map_path)
