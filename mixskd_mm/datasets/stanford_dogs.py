"""Stanford Dogs, as its archives unpack."""

from __future__ import annotations

import os

import mat4py
from mmpretrain.datasets import BaseDataset
from mmpretrain.registry import DATASETS

from mixskd_mm.errors import InputError

from .folders import check_layout

NUM_CLASSES = 120


@DATASETS.register_module()
class StanfordDogs(BaseDataset):
    """Stanford Dogs (Khosla et al., 2011): 120 breeds, 12,000 images to train, 8,580 to test.

    The folder into which ``images.tar`` and ``lists.tar`` were unpacked::

        stanford_dogs
        ├── Images
        │   ├── n02085620-Chihuahua
        │   │   ├── n02085620_5927.jpg
        │   │   └── ...
        │   └── ...
        ├── train_list.mat      file_list, a cell array of such names; labels, 1 to 120
        └── test_list.mat

    The names of the classes are those of the folders without WordNet's number. A class that the list has no image of goes
    by its number in the list.

    Args:
        data_root (str): The folder with these.
        split (str): ``'train'`` or ``'test'``. Defaults to ``'train'``.
        **kwargs: Others of mmpretrain's BaseDataset, e.g. ``pipeline``.

    Raises:
        InputError: if a file or folder is missing, the split is another, or a list is damaged, has a label outside 1 to 120
            or two folders for one label.
    """

    def __init__(self, data_root: str, split: str = 'train', **kwargs) -> None:
        check_layout('StanfordDogs', data_root, split, 'StanfordDogs')
        super().__init__(
            ann_file=f'{split}_list.mat',
            data_root=data_root,
            data_prefix='Images',
            test_mode=split == 'test',
            **kwargs,
        )

    def load_data_list(self) -> list[dict]:
        """``img_path`` and ``gt_label``, from 0, of each image of the list."""
        files, labels = read_list(self.ann_file)
        folders = {}
        for file, label in zip(files, labels, strict=True):
            folder = file.split('/')[0]
            if folders.setdefault(label, folder) != folder:
                raise InputError(
                    f'{self.ann_file} has label {label} for {folders[label]} and {folder}: expected one folder a label'
                )
        names = {label: folder.partition('-')[2] or folder for label, folder in folders.items()}
        classes = tuple(names.get(label, str(label)) for label in range(1, NUM_CLASSES + 1))
        self._metainfo.setdefault('classes', classes)
        return [
            dict(img_path=os.path.join(self.img_prefix, file), gt_label=label - 1)
            for file, label in zip(files, labels, strict=True)
        ]


def read_list(path: str) -> tuple[list[str], list[int]]:
    """Names of the images and their labels, 1 to 120, in ``train_list.mat`` or ``test_list.mat``.

    Raises:
        InputError: if the file is damaged or a label outside that range.
    """
    try:
        content = mat4py.loadmat(path)
        files = [str(file) for file in flatten(content['file_list'])]
        labels = [int(label) for label in flatten(content['labels'])]
    # A damaged file ends in whatever the parser stumbles over.
    except Exception as error:
        raise InputError(
            f'{path} cannot be read ({type(error).__name__}: {error}): expected file_list and labels, as lists.tar has them'
        ) from error
    if len(files) != len(labels) or not files:
        raise InputError(f'{path} has {len(files)} names and {len(labels)} labels: expected as many of both, and some')
    for file, label in zip(files, labels, strict=True):
        if not 1 <= label <= NUM_CLASSES:
            raise InputError(f'{path} has label {label} for {file}: expected 1 to {NUM_CLASSES}')
    return files, labels


def flatten(matrix) -> list:
    """The entries of a matrix of mat4py, which has the rows of a column as lists of one, and drops a single row's."""
    if not isinstance(matrix, list):
        return [matrix]
    return [entry for row in matrix for entry in flatten(row)]
