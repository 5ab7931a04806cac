"""Label maps of segmentation data sets: what would be read as other labels than were drawn."""

from __future__ import annotations

import os

import cv2
import numpy as np
import torch

from mixskd_mm.errors import InputError

from .image_sizes import spread


def read_as_stored(path: str) -> np.ndarray | None:
    """A label map as it lies in its file, in any type and number of channels; None if it is not a local image."""
    return cv2.imread(path, cv2.IMREAD_UNCHANGED) if os.path.isfile(path) else None


def storage_problem(stored: np.ndarray) -> str | None:
    """What of a stored map mmseg would change: it takes the first channel of several, and labels modulo 256."""
    if stored.ndim != 2:
        return f'has {stored.shape[2]} channels: expected one, with the labels'
    if stored.dtype != np.uint8:
        return f'has values of {stored.dtype}: expected 8 bits, since labels above 255 are read as others'
    return None


def is_binary(stored: np.ndarray, ignore_index: int) -> bool:
    """Whether a map has 0 and 255 only, where 255 is ignored: drawn as black and white."""
    return ignore_index == 255 and set(np.unique(stored)) == {0, 255}


def check_labels(labels: torch.Tensor, num_classes: int, ignore_index: int, file: str) -> None:
    """Raise InputError, naming ``file``, if a label of a map is no class and not the ignored one."""
    wrong = labels[(labels >= num_classes) & (labels != ignore_index)]
    if len(wrong):
        raise InputError(
            f'{file} has label {wrong.max().item()}: expected 0 to {num_classes - 1} or {ignore_index}, which is ignored'
        )


def check_label_maps(dataset, num_classes: int, samples: int = 16) -> None:
    """Look at evenly spaced samples of a segmentation data set.

    Args:
        dataset: mmseg's, with its pipeline.
        num_classes (int): Number of its classes.
        samples (int): How many to look at. Defaults to 16.

    Raises:
        InputError: naming a file that has a label that is no class, several channels or more than 8 bits, or if all have
            nothing but 0 and the ignored 255.
    """
    binary = []
    for i in spread(len(dataset), samples):
        sample = dataset[i]['data_samples']
        stored = read_as_stored(sample.seg_map_path)
        problem = None if stored is None else storage_problem(stored)
        if problem:
            raise InputError(f'{sample.seg_map_path} {problem}')
        check_labels(sample.gt_sem_seg.data, num_classes, dataset.ignore_index, sample.seg_map_path)
        binary.append(stored is not None and is_binary(stored, dataset.ignore_index))
    if binary and all(binary) and num_classes > 1:
        raise InputError(
            f'{sample.seg_map_path} and the {len(binary) - 1} other label maps that were looked at have 0 and 255 only, and '
            f'255 is ignored: expected the labels 0 to {num_classes - 1}'
        )
