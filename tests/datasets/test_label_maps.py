from types import SimpleNamespace

import cv2
import numpy as np
import pytest
import torch

from mixskd_mm.datasets.label_maps import check_label_maps, is_binary, read_as_stored, storage_problem
from mixskd_mm.errors import InputError

GOOD = np.array([[0, 1, 2, 255]], dtype=np.uint8)
BLACK_AND_WHITE = np.array([[0, 255, 255, 0]], dtype=np.uint8)


class Maps(list):
    """Stands for mmseg's data sets, with maps in files; labels are read as mmseg reads them."""

    ignore_index = 255

    def __init__(self, folder, *maps):
        for i, stored in enumerate(maps):
            path = str(folder / f'{i:03d}.png')
            cv2.imwrite(path, stored)
            labels = torch.tensor((stored if stored.ndim == 2 else stored[..., 0]).astype(np.uint8))
            sample = SimpleNamespace(gt_sem_seg=SimpleNamespace(data=labels), seg_map_path=path)
            self.append(dict(data_samples=sample))


def test_maps_of_classes_pass(tmp_path):
    check_label_maps(Maps(tmp_path, GOOD, BLACK_AND_WHITE, np.zeros((1, 4), np.uint8)), num_classes=3)


@pytest.mark.parametrize(
    ('stored', 'told'),
    [
        (np.stack([GOOD] * 3, -1), 'has 3 channels: expected one, with the labels'),
        (np.stack([GOOD] * 4, -1), 'has 4 channels: expected one, with the labels'),
        (
            GOOD.astype(np.uint16) + 256,
            'has values of uint16: expected 8 bits, since labels above 255 are read as others',
        ),
        (GOOD + np.uint8(1), 'has label 3: expected 0 to 2 or 255, which is ignored'),
    ],
)
@pytest.mark.parametrize('place', [0, 40])
def test_one_that_is_read_as_other_labels_is_named_wherever_it_is(stored, told, place, tmp_path):
    maps = [GOOD] * 41
    maps[place] = stored
    with pytest.raises(InputError) as error:
        check_label_maps(Maps(tmp_path, *maps), num_classes=3)
    assert str(error.value) == f'{tmp_path}/{place:03d}.png {told}'


def test_black_and_white_maps_do_not_train_one_class(tmp_path):
    with pytest.raises(
        InputError, match=r'002\.png and the 2 other label maps .* have 0 and 255 only, and 255 is ignored'
    ):
        check_label_maps(Maps(tmp_path, *[BLACK_AND_WHITE] * 3), num_classes=2)


def test_where_255_is_a_class_it_may_be_there():
    assert is_binary(BLACK_AND_WHITE, ignore_index=255) and not is_binary(BLACK_AND_WHITE, ignore_index=254)
    assert not is_binary(np.zeros((2, 2), np.uint8), 255) and storage_problem(GOOD) is None


def test_what_is_no_local_file_is_left_to_the_loader(tmp_path):
    assert read_as_stored('s3://bucket/0.png') is None
