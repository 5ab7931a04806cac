"""COCO-Stuff-164k with the ids of its own pixel maps."""

from __future__ import annotations

from mmseg.datasets import BaseSegDataset, COCOStuffDataset

# Ids that are in COCO-Stuff's list of labels and in no pixel map.
UNUSED = {
    11: 'street sign',
    25: 'hat',
    28: 'shoe',
    29: 'eye glasses',
    44: 'plate',
    65: 'mirror',
    67: 'window',
    68: 'desk',
    70: 'door',
    82: 'blender',
    90: 'hair brush',
}


def with_unused(used: list, unused: dict[int, object]) -> list:
    """``used`` in its order, with each value of ``unused`` inserted at its final index."""
    values = list(used)
    for index, value in sorted(unused.items()):
        values.insert(index, value)
    return values


class COCOStuff182Dataset(BaseSegDataset):
    """COCO-Stuff-164k as the paper's segmentation code reads it: ids 0 to 181 of the pixel maps, 255 ignored.

    mmseg's ``COCOStuffDataset`` renumbers the 171 ids that occur and needs converted maps; this one reads the ``*.png`` of
    ``stuffthingmaps_trainval2017`` as they are. A mean over 182 classes counts :data:`UNUSED` as 0:
    ``AllClassIoUMetric`` gives both means.
    """

    METAINFO = dict(
        classes=tuple(with_unused(COCOStuffDataset.METAINFO['classes'], UNUSED)),
        palette=with_unused(COCOStuffDataset.METAINFO['palette'], {index: [0, 0, 0] for index in UNUSED}),
    )

    def __init__(self, img_suffix: str = '.jpg', seg_map_suffix: str = '.png', **kwargs) -> None:
        super().__init__(img_suffix=img_suffix, seg_map_suffix=seg_map_suffix, **kwargs)
