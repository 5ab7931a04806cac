from types import SimpleNamespace

import cv2
import numpy as np
import pytest
from mmcv.transforms import LoadImageFromFile
from PIL import Image

from mixskd_mm.datasets.image_sizes import (
    by_orientation,
    check_image_sizes,
    size_problem,
    spread,
    stored_orientation,
    turned,
)
from mixskd_mm.errors import InputError

ORIENTATION = 0x0112


def write(path, orientation=None, height=20, width=30):
    """An image with a bright corner, and its EXIF orientation; returns its path."""
    pixels = np.zeros((height, width, 3), np.uint8)
    pixels[:5, :10] = 255
    exif = Image.Exif()
    if orientation is not None:
        exif[ORIENTATION] = orientation
    Image.fromarray(pixels).save(path, exif=exif)
    return str(path)


@pytest.mark.parametrize('kind', ['jpg', 'png'])
@pytest.mark.parametrize('orientation', [None, *range(10)])
def test_images_are_turned_when_they_are_loaded(orientation, kind, tmp_path):
    path = write(tmp_path / f'0.{kind}', orientation)
    meant = orientation if orientation in range(2, 9) else 1
    assert stored_orientation(path) == (1 if orientation is None else orientation)
    image = cv2.imread(path)
    assert turned(path, image) == (meant > 1)
    assert by_orientation(path) == (f' by its EXIF orientation {orientation}' if meant > 4 else '')
    assert image.shape[:2] == ((30, 20) if meant > 4 else (20, 30))


def test_an_image_is_not_turned_by_a_loader_that_ignores_its_orientation(tmp_path):
    path = write(tmp_path / '0.jpg', 6)
    assert not turned(path, cv2.imread(path, cv2.IMREAD_COLOR | cv2.IMREAD_IGNORE_ORIENTATION))


def test_what_is_no_image_has_no_orientation(tmp_path):
    (tmp_path / '0.jpg').write_bytes(b'no image')
    assert stored_orientation(str(tmp_path / '0.jpg')) == 1
    assert stored_orientation('s3://bucket/0.jpg') == 1 and stored_orientation(str(tmp_path / '1.jpg')) == 1


def test_the_line_says_why_a_size_differs(tmp_path):
    path = write(tmp_path / '0.jpg', 8)
    assert size_problem(path, (30, 20), (30, 20), 'its annotation says') is None
    assert size_problem(path, (30, 20), (20, 30), 'its annotation says') == (
        f'{path} is 20 x 30 by its EXIF orientation 8: expected 30 x 20, as its annotation says'
    )
    path = write(tmp_path / '1.jpg', 3)
    assert size_problem(path, (20, 30), (20, 31), 'it says') == f'{path} is 30 x 20: expected 31 x 20, as it says'


@pytest.mark.parametrize(('number', 'samples', 'indices'), [(1, 16, [0]), (5, 3, [0, 2, 4]), (3, 16, [0, 1, 2])])
def test_samples_are_evenly_spaced(number, samples, indices):
    assert spread(number, samples) == indices


class Images(list):
    """Stands for data sets of mmdet and mmseg: what is known of each image."""

    ann_file = 'train.json'

    def __init__(self, *infos, **settings):
        super().__init__(infos)
        self.pipeline = SimpleNamespace(transforms=[LoadImageFromFile(**settings)])

    def get_data_info(self, index):
        return dict(self[index])


def test_images_of_boxes(tmp_path):
    infos = [dict(img_path=write(tmp_path / f'{i}.jpg'), height=20, width=30) for i in range(3)]
    assert check_image_sizes(Images(*infos)) is None
    # Annotated as it is seen.
    infos[1] = dict(img_path=write(tmp_path / '1.jpg', 6), height=30, width=20)
    assert check_image_sizes(Images(*infos)) == (
        "Images in 'train.json': 1 of 3 images are turned or mirrored when they are loaded, by their EXIF orientation "
        f'(first: {tmp_path}/1.jpg, 6): expected boxes and label maps of the image as it is seen'
    )
    infos[1].update(height=20, width=30)
    with pytest.raises(
        InputError, match=rf'^{tmp_path}/1.jpg is 20 x 30 by its EXIF orientation 6: expected 30 x 20, as its'
    ):
        check_image_sizes(Images(*infos))
    assert check_image_sizes(Images(*infos, color_type='color_ignore_orientation')) is None


def test_images_of_label_maps(tmp_path):
    labels = str(tmp_path / 'labels.png')
    cv2.imwrite(labels, np.zeros((20, 30), np.uint8))
    info = dict(img_path=write(tmp_path / '0.jpg'), seg_map_path=labels)
    assert check_image_sizes(Images(info)) is None
    write(tmp_path / '0.jpg', 3)
    assert '1 of 1 images are turned or mirrored' in check_image_sizes(Images(info))
    write(tmp_path / '0.jpg', 5)
    with pytest.raises(InputError, match=rf'by its EXIF orientation 5: expected 30 x 20, as its label map {labels}$'):
        check_image_sizes(Images(info))
    # Whoever reads it says what is wrong with it.
    (tmp_path / 'labels.png').write_text('no image')
    assert check_image_sizes(Images(info)) is None


def test_images_without_places_are_not_loaded(tmp_path):
    assert check_image_sizes(Images(dict(img_path=f'{tmp_path}/missing.jpg', gt_label=3))) is None
