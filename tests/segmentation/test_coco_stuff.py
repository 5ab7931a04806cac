from mmengine.registry import DATASETS
from mmseg.datasets import COCOStuffDataset

import mixskd_mm  # noqa: F401  (registers everything)

UNUSED = (11, 25, 28, 29, 44, 65, 67, 68, 70, 82, 90)


def build():
    return DATASETS.build(dict(type='COCOStuff182Dataset', lazy_init=True))


def test_classes():
    classes = build().metainfo['classes']
    assert len(classes) == len(set(classes)) == 182
    used = [name for index, name in enumerate(classes) if index not in UNUSED]
    assert tuple(used) == COCOStuffDataset.METAINFO['classes']
    # Ids of COCO-Stuff's own list, which starts with 'unlabeled', less 1.
    expected = {
        0: 'person', 10: 'fire hydrant', 11: 'street sign', 12: 'stop sign', 25: 'hat', 28: 'shoe', 29: 'eye glasses',
        44: 'plate', 65: 'mirror', 66: 'dining table', 67: 'window', 68: 'desk', 69: 'toilet', 70: 'door', 82: 'blender',
        88: 'hair drier', 89: 'toothbrush', 90: 'hair brush', 91: 'banner', 156: 'sky-other', 181: 'wood',
    }  # fmt: skip
    assert {index: classes[index] for index in expected} == expected


def test_colours_are_those_of_mmseg():
    palette = build().metainfo['palette']
    assert len(palette) == 182
    used = [colour for index, colour in enumerate(palette) if index not in UNUSED]
    assert used == COCOStuffDataset.METAINFO['palette']


def test_files_are_the_pixel_maps_as_they_are():
    dataset = build()
    assert (dataset.img_suffix, dataset.seg_map_suffix) == ('.jpg', '.png')
    assert dataset.label_map is None
    assert dataset.reduce_zero_label is False
    assert dataset.ignore_index == 255
