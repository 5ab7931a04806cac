from pathlib import Path

import cv2
import numpy as np
import pytest
import sklearn.datasets
import tiny
from sklearn.datasets import load_digits


@pytest.fixture(scope='module')
def written(tmp_path_factory):
    """Function: what tools/quickstart/make_digits.py writes, {(split, label, sample): pixels}, from the first digits."""

    def write(*args, count=400):
        out = tmp_path_factory.mktemp('digits')
        digits = load_digits()
        digits.images, digits.target = digits.images[:count], digits.target[:count]
        with pytest.MonkeyPatch.context() as monkeypatch:
            monkeypatch.setattr(sklearn.datasets, 'load_digits', lambda: digits)
            tiny.run_script('tools/quickstart/make_digits.py', out, *args, monkeypatch=monkeypatch)
        return {key(path): cv2.imread(str(path), cv2.IMREAD_UNCHANGED) for path in out.rglob('*.png')}

    return write


def key(path: Path) -> tuple[str, int, int]:
    return path.parts[-3], int(path.parts[-2]), int(path.stem)


@pytest.fixture(scope='module')
def default(written):
    return written(count=None)


def split(images, name):
    return {sample: label for part, label, sample in images if part == name}


def test_twenty_training_images_a_class_and_the_rest_to_test(default):
    train, test = split(default, 'train'), split(default, 'test')
    assert [list(train.values()).count(digit) for digit in range(10)] == [20] * 10
    assert len(test) == 1797 - 200 and set(test.values()) == set(range(10))
    assert not set(train) & set(test)


def test_each_image_is_the_digit_of_its_folder(default):
    digits = load_digits()
    for (_, label, sample), pixels in default.items():
        assert label == digits.target[sample]
        assert pixels.shape == (16, 16) and pixels.dtype == np.uint8
        # Shrunk again it is the original, but for what cubic interpolation overshoots.
        shrunk = cv2.resize(pixels, (8, 8), interpolation=cv2.INTER_AREA)
        assert np.corrcoef(shrunk.ravel(), digits.images[sample].ravel())[0, 1] > 0.9


def test_the_seed_chooses_the_training_images(written):
    first, again, other = written(), written(), written('--seed', 1)
    assert split(first, 'train') == split(again, 'train') != split(other, 'train')
    assert len(split(other, 'train')) == 200


def test_number_and_size_can_be_chosen(written):
    images = written('--per-class', 3, '--size', 24)
    assert len(split(images, 'train')) == 30
    assert {pixels.shape for pixels in images.values()} == {(24, 24)}
