"""MIT Indoor 67, as its archive and its two lists come."""

from __future__ import annotations

import os

from mmengine.fileio import list_from_file
from mmpretrain.datasets import BaseDataset
from mmpretrain.registry import DATASETS

from mixskd_mm.errors import InputError

from .folders import check_layout

# Those of the folders, in alphabetical order.
NAMES = (
    'airport_inside artstudio auditorium bakery bar bathroom bedroom bookstore bowling buffet casino children_room '
    'church_inside classroom cloister closet clothingstore computerroom concert_hall corridor deli dentaloffice '
    'dining_room elevator fastfood_restaurant florist gameroom garage greenhouse grocerystore gym hairsalon hospitalroom '
    'inside_bus inside_subway jewelleryshop kindergarden kitchen '  # codespell:ignore kindergarden
    'laboratorywet laundromat library livingroom lobby locker_room mall meeting_room movietheater museum nursery office '
    'operating_room pantry poolinside prisoncell restaurant restaurant_kitchen shoeshop stairscase studiomusic subway '
    'toystore trainstation tv_studio videostore waitingroom warehouse winecellar'
)
CLASSES = tuple(NAMES.split())


@DATASETS.register_module()
class MITIndoor67(BaseDataset):
    """MIT Indoor Scene Recognition (Quattoni and Torralba, 2009): 67 classes, 5,360 images to train, 1,340 to test.

    Those are the published lists; MixSKD's appendix says 5,356 and 1,337. The folder of ``indoorCVPR_09.tar``, with the
    lists beside it::

        mit67
        ├── Images
        │   ├── airport_inside
        │   │   ├── airport_inside_0001.jpg
        │   │   └── ...
        │   └── ...
        ├── TrainImages.txt     lines such as airport_inside/airport_inside_0001.jpg
        └── TestImages.txt

    Args:
        data_root (str): The folder with these.
        split (str): ``'train'`` or ``'test'``. Defaults to ``'train'``.
        **kwargs: Others of mmpretrain's BaseDataset, e.g. ``pipeline``.

    Raises:
        InputError: if a file or folder is missing, the split is another, or a list is empty or has a line that is no
            ``class/file.jpg`` of the 67 classes.
    """

    METAINFO = dict(classes=CLASSES)

    def __init__(self, data_root: str, split: str = 'train', **kwargs) -> None:
        check_layout('MITIndoor67', data_root, split, 'MITIndoor67')
        super().__init__(
            ann_file=f'{split.capitalize()}Images.txt',
            data_root=data_root,
            data_prefix='Images',
            test_mode=split == 'test',
            **kwargs,
        )

    def load_data_list(self) -> list[dict]:
        """``img_path`` and ``gt_label`` of each line of the list."""
        data_list = []
        for line in filter(None, map(str.strip, list_from_file(self.ann_file))):
            name = line.split('/')[0]
            if name not in CLASSES or '/' not in line:
                raise InputError(f'{self.ann_file} has the line {line!r}: expected <class>/<file>, one of 67 classes')
            data_list.append(dict(img_path=os.path.join(self.img_prefix, line), gt_label=CLASSES.index(name)))
        if not data_list:
            raise InputError(f'{self.ann_file} is empty: expected the names of images')
        return data_list
