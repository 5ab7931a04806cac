"""Folders of classes and their split."""

import cv2
import numpy as np
import pytest

from mixskd_mm.errors import InputError
from mixskd_mm.own_data.parts import ClassFolders, split


def write(root, *files):
    for i, file in enumerate(files):
        (root / file).parent.mkdir(parents=True, exist_ok=True)
        cv2.imwrite(str(root / file), np.full((4, 4, 3), i, np.uint8))


def test_a_split_holds_out_its_share_and_depends_on_names_alone():
    names = [f'{i}.png' for i in range(50)]
    train, val = split(names, 'train', 0.2), split(reversed(names), 'val', 0.2)
    assert len(val) == 10 and sorted(train + val) == sorted(names)
    # As it was when it was written: another release must not move images from one part to the other.
    assert split(names[:10], 'val', 0.3) == ['0.png', '6.png', '8.png']


def test_each_part_has_an_image_of_two():
    assert len(split(['a', 'b'], 'train', 0.01)) == len(split(['a', 'b'], 'val', 0.01)) == 1
    assert len(split(['a', 'b'], 'val', 0.99)) == 1


def test_labels_are_places_in_the_list_of_classes(tmp_path):
    write(tmp_path, 'dog/1.png', 'cat/deep/2.JPG', 'cat/notes.txt.png', '.cache/3.png')
    (tmp_path / 'dog' / 'notes.txt').touch()
    dataset = ClassFolders(classes=['ant', 'cat', 'dog'], data_root=str(tmp_path))
    found = [(dataset.get_data_info(i)['img_path'].split('/')[-1], dataset.get_gt_labels()[i]) for i in range(3)]
    assert found == [('2.JPG', 1), ('notes.txt.png', 1), ('1.png', 2)]
    assert dataset.CLASSES == ('ant', 'cat', 'dog')
    assert ClassFolders(data_root=str(tmp_path)).get_gt_labels().tolist() == [0, 0, 1]


def test_a_folder_of_no_class_is_refused(tmp_path):
    write(tmp_path, 'dog/1.png', 'wolf/1.png')
    with pytest.raises(InputError, match="has a folder 'wolf', which is none of the 2 classes"):
        ClassFolders(classes=['cat', 'dog'], data_root=str(tmp_path))


@pytest.mark.parametrize(
    ('arguments', 'message'), [(dict(part='test'), "part='test'"), (dict(val_fraction=1), 'val_fraction=1')]
)
def test_arguments_out_of_range(tmp_path, arguments, message):
    with pytest.raises(InputError, match=message):
        ClassFolders(data_root=str(tmp_path), **arguments)
