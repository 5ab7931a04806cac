"""Labels that are no class are refused in whatever batch they come."""

from types import SimpleNamespace

import pytest
import torch
from mmengine.structures import BaseDataElement, PixelData

from mixskd_mm.engine import LabelMapHook
from mixskd_mm.errors import InputError

DATASET = SimpleNamespace(metainfo=dict(classes=('road', 'sky')), ignore_index=255)
RUNNER = SimpleNamespace(
    **{f'{part}_dataloader': SimpleNamespace(dataset=DATASET) for part in ('train', 'val', 'test')}
)


def batch(*maps):
    samples = [
        BaseDataElement(
            metainfo=dict(seg_map_path=f'{i}.png'), gt_sem_seg=PixelData(data=torch.tensor(labels).view(1, 1, -1))
        )
        for i, labels in enumerate(maps)
    ]
    return dict(data_samples=samples)


@pytest.mark.parametrize('part', ['train', 'val', 'test'])
def test_the_file_and_the_label_are_named(part):
    check = getattr(LabelMapHook(), f'before_{part}_iter')
    check(RUNNER, 0, batch([0, 1, 255], [1, 1, 1]))
    with pytest.raises(InputError, match=r'^1\.png has label 7: expected 0 to 1 or 255, which is ignored$'):
        check(RUNNER, 3, batch([0, 1, 255], [1, 7, 2]))


def test_images_without_a_label_map_and_data_sets_without_names_pass():
    LabelMapHook().before_test_iter(RUNNER, 0, dict(data_samples=[BaseDataElement()]))
    nameless = SimpleNamespace(test_dataloader=SimpleNamespace(dataset=SimpleNamespace(metainfo={})))
    LabelMapHook().before_test_iter(nameless, 0, batch([9]))
