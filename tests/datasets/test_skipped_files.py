import shutil

import cv2
import downstream
import numpy as np
import pytest
import tiny
from mmcv.transforms import LoadImageFromFile
from mmpretrain.datasets import CustomDataset
from mmseg.datasets import BaseSegDataset
from mmseg.datasets.transforms import LoadAnnotations

from mixskd_mm.datasets.skipped_files import check_files_exist, missing_files, named_files, skipped_notices
from mixskd_mm.errors import InputError

EXTENSIONS = '.bmp, .jpeg, .jpg, .pgm, .png, .ppm, .tif'


@pytest.fixture
def digits(tmp_path):
    return shutil.copytree(tiny.digits(), tmp_path / 'digits')


def folder_set(root, **settings):
    return CustomDataset(data_root=str(root), data_prefix='train', **settings)


def rename(root, pattern, suffix):
    """Give the first file that matches another suffix; returns it."""
    path = min(root.glob(pattern))
    return path.rename(path.with_suffix(suffix))


def test_a_folder_whose_files_are_all_taken(digits):
    (digits / 'train/0/.DS_Store').touch()
    rename(digits, 'train/3/*', '.JPG')
    dataset = folder_set(digits)
    assert len(dataset) == 40 and list(skipped_notices(dataset)) == [] and named_files(dataset) == {}


@pytest.mark.parametrize('suffix', ['.webp', '.avif', '.jfif', '.WEBP', ''])
def test_files_of_other_kinds_in_folders_of_classes(suffix, digits):
    first, second = rename(digits, 'train/3/*.png', suffix), rename(digits, 'train/7/*.png', suffix)
    (line,) = skipped_notices(folder_set(digits))
    assert line == (
        f'{digits}/train: 2 of 40 files are not taken: 2 {suffix or "no extension"} (first: {first}): expected {EXTENSIONS} '
        'in a folder for each class'
    )
    assert second.parent.name == '7'
    extensions = ('.webp', '.avif', '.jfif', '.png')
    assert bool(suffix) == (not list(skipped_notices(folder_set(digits, extensions=extensions))))


def test_several_kinds_are_counted(digits):
    rename(digits, 'train/3/*.png', '.gif')
    for digit in (1, 2):
        rename(digits, f'train/{digit}/*.png', '.webp')
    (line,) = skipped_notices(folder_set(digits))
    assert ': 3 of 40 files are not taken: 2 .webp, 1 .gif (first: ' in line


def test_images_beside_the_folders_of_classes(digits):
    image = digits / 'train/lost.png'
    shutil.copy(min(digits.glob('train/0/*')), image)
    (line,) = skipped_notices(folder_set(digits))
    assert f': 1 of 41 files are not taken: 1 .png (first: {image}): expected' in line
    assert list(skipped_notices(folder_set(digits, with_label=False))) == []


def test_a_list_says_what_it_takes_and_names_what_is_missing(digits):
    paths = sorted((digits / 'train').rglob('*.png'))
    (digits / 'train.txt').write_text(''.join(f'{path.parent.name}/{path.name} {path.parent.name}\n' for path in paths))
    dataset = folder_set(digits, ann_file='train.txt')
    rename(digits, 'train/0/*.png', '.webp')
    shutil.rmtree(digits / 'train/9')
    assert list(skipped_notices(dataset)) == []
    with pytest.raises(InputError) as error:
        check_files_exist(dataset)
    assert str(error.value) == (
        f"5 of the 40 images of CustomDataset in '{digits}/train.txt' do not exist (first: {paths[0]}): expected all"
    )
    check_files_exist(folder_set(digits, ann_file='train.txt', indices=[1, 2]))


def test_missing_files_of_several_folders(tmp_path):
    (tmp_path / 'a').mkdir()
    (tmp_path / 'a/1.png').touch()
    paths = [f'{tmp_path}/{name}' for name in ('a/1.png', 'a/1.PNG', 'b/1.png', 'a/2.png')]
    assert missing_files(paths) == [paths[1], paths[2], paths[3]]
    assert missing_files(['s3://bucket/1.png']) == []


@pytest.fixture
def scenes(tmp_path):
    return shutil.copytree(downstream.ade(), tmp_path / 'ade')


def scene_set(root, pipeline=(LoadImageFromFile, LoadAnnotations), **settings):
    return BaseSegDataset(
        data_root=str(root),
        data_prefix=dict(img_path='images/training', seg_map_path='annotations/training'),
        metainfo=dict(classes=('a', 'b')),
        pipeline=[kind() for kind in pipeline],
        **settings,
    )


def test_a_segmentation_set_whose_files_are_all_taken(scenes):
    # As COCO-Stuff's converter writes them.
    shutil.copy(scenes / 'annotations/training/0.png', scenes / 'annotations/training/0_labelTrainIds.png')
    dataset = scene_set(scenes)
    assert len(dataset) == 2 and list(skipped_notices(dataset)) == []
    check_files_exist(dataset)


@pytest.mark.parametrize('suffix', ['.JPG', '.jpeg', '.webp'])
def test_images_with_another_suffix_and_their_maps(suffix, scenes):
    image = rename(scenes, 'images/training/*', suffix)
    assert list(skipped_notices(scene_set(scenes))) == [
        f'{scenes}/images/training: 1 of 2 files are not taken: 1 {suffix} (first: {image}): expected *.jpg (img_suffix)',
        f'{scenes}/annotations/training: 1 of 2 label maps have no image (first: {scenes}/annotations/training/0.png)',
    ]


@pytest.mark.parametrize('listed', [False, True])
def test_images_without_a_map_are_refused(listed, scenes):
    (scenes / 'train.txt').write_text('0\n1\n')
    dataset = scene_set(scenes, **dict(ann_file='train.txt') if listed else {})
    rename(scenes, 'annotations/training/1.png', '.PNG')
    told = f'1 of the 2 label maps of BaseSegDataset in .* do not exist .first: {scenes}/annotations/training/1.png'
    with pytest.raises(InputError, match=told):
        check_files_exist(dataset)
    # To predict on images needs no maps.
    check_files_exist(scene_set(scenes, [LoadImageFromFile]))


def test_images_of_a_list_that_are_missing_are_refused(scenes):
    (scenes / 'train.txt').write_text('0\n2\n')
    cv2.imwrite(str(scenes / 'annotations/training/2.png'), np.zeros((72, 96), np.uint8))
    with pytest.raises(
        InputError, match=rf'^1 of the 2 images of BaseSegDataset in .*first: {scenes}/images/training/2.jpg'
    ):
        check_files_exist(scene_set(scenes, ann_file='train.txt'))


def test_what_lies_elsewhere_is_not_looked_for(scenes):
    dataset = scene_set(scenes, backend_args=dict(backend='local'))
    shutil.rmtree(scenes / 'images')
    assert named_files(dataset) == {} and list(skipped_notices(dataset)) == []
