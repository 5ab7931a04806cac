"""Labels that would mean another class elsewhere are refused, with both places and the first class that differs."""

import json
import shutil
from types import SimpleNamespace

import pytest
import tiny
import torch

from mixskd_mm.datasets.class_names import check_category_order, check_datasets_agree, check_same_classes, class_names
from mixskd_mm.errors import InputError

NAMES = ('ant', 'bee', 'cat')


def dataset(*classes, place='a', **attributes):
    return SimpleNamespace(metainfo=dict(classes=classes), data_root=place, **attributes)


@pytest.mark.parametrize(
    ('names', 'told'),
    [
        (('ant', 'cat', 'bee'), "A has class 1 'cat', B has 'bee': expected the same classes in the same order"),
        (('ant', 'Bee', 'cat'), "A has class 1 'Bee', B has 'bee': expected the same classes in the same order"),
        (('ant', 'cat'), "A has 2 classes (without 'bee'), B has 3: expected the same classes, since labels are their"),
        ((*NAMES, 'dog'), "A has 4 classes (with 'dog'), B has 3: expected the same classes"),
        (('Ant', 'cat'), "A has 2 classes (without 'ant' and with 'Ant'), B has 3: expected"),
        ((*NAMES, 'cat'), 'A has 4 classes (some twice), B has 3: expected'),
    ],
)
def test_the_first_class_that_differs_is_named(names, told):
    with pytest.raises(InputError) as error:
        check_same_classes(names, 'A', NAMES, 'B')
    assert str(error.value).startswith(told)


def test_the_same_names_or_none_pass():
    check_same_classes(list(NAMES), 'A', NAMES, 'B')
    check_same_classes(None, 'A', NAMES, 'B')
    check_same_classes(NAMES, 'A', None, 'B')
    assert (
        class_names(dict(CLASSES=['a'])) == ('a',)
        and class_names(None) is class_names(dict(classes='ImageNet')) is None
    )


def test_wrapped_sets_are_compared_too():
    wrapped = SimpleNamespace(
        datasets=[dataset(*NAMES), SimpleNamespace(dataset=dataset('ant', 'bee', 'dog', place='b'))]
    )
    check_datasets_agree([dataset(*NAMES), dataset(*NAMES)])
    with pytest.raises(InputError, match=r"'b' has class 2 'dog', SimpleNamespace in 'a' has 'cat'"):
        check_datasets_agree([dataset(*NAMES), wrapped])


@pytest.mark.parametrize(
    ('names', 'told'),
    [
        (NAMES, None),
        (('dog', *NAMES), None),
        (('bee', 'ant', 'cat'), r"coco\.json \(categories\) has class 0 'bee', the data set's metainfo has 'ant'"),
        (('ant', 'bee', 'bee', 'cat'), r"coco\.json has several categories named 'bee': expected different names"),
        (('ant', 'bee'), 'has annotations of 2 of the 3 classes of the config: expected all; set metainfo.classes'),
    ],
)
def test_categories_count_in_the_order_of_the_file(names, told, tmp_path):
    categories = [dict(id=i, name=name) for i, name in enumerate(names)]
    file = tmp_path / 'coco.json'
    file.write_text(json.dumps(dict(info='"categories" are below', images=[], categories=categories, annotations=[])))
    opened = dataset(*NAMES, ann_file=str(file), cat_ids=[])
    if told is None:
        check_category_order(opened)
    else:
        with pytest.raises(InputError, match=told):
            check_category_order(opened)


@pytest.mark.parametrize('text', ['', '{}', '{"categories": [1]}', '{"categories": '])
def test_a_file_without_categories_is_named(text, tmp_path):
    (tmp_path / 'coco.json').write_text(text)
    with pytest.raises(InputError, match=f'^{tmp_path}/coco.json'):
        check_category_order(dataset(*NAMES, ann_file=str(tmp_path / 'coco.json'), cat_ids=[]))


@pytest.fixture(scope='module')
def trained(tmp_path_factory):
    work_dir = tmp_path_factory.mktemp('names')
    tiny.train(tiny.make_config(work_dir, {'train_cfg.max_epochs': 1}))
    return work_dir / 'epoch_1.pth'


@pytest.fixture
def renamed(tmp_path):
    """The digits, with the test images of 3 in a folder that is sorted behind the others."""
    root = shutil.copytree(tiny.digits(), tmp_path / 'digits')
    (root / 'test/3').rename(root / 'test/three')
    return root


def test_training_does_not_validate_on_other_classes(renamed, tmp_path):
    with pytest.raises(InputError, match=r"has class 3 '4', CustomDataset in .* has '3': expected the same classes"):
        tiny.train(tiny.make_config(tmp_path / 'run', data_root=renamed))


def test_a_test_on_other_classes_is_refused(trained, renamed, tmp_path):
    with pytest.raises(InputError, match=rf"has class 3 '4', checkpoint {trained} has '3': expected the same classes"):
        tiny.evaluate(tiny.make_config(tmp_path / 'run', data_root=renamed), trained)


def test_resuming_on_other_classes_is_refused_and_starting_from_them_is_not(trained, tmp_path):
    checkpoint = tiny.load(trained)
    checkpoint['meta']['dataset_meta'] = dict(classes=list('9876543210'))
    torch.save(checkpoint, tmp_path / 'other.pth')
    options = {'load_from': str(tmp_path / 'other.pth'), 'train_cfg.max_epochs': 2}
    with pytest.raises(
        InputError, match=r"has class 0 '0', checkpoint .*other\.pth has '9': expected the same classes"
    ):
        tiny.train(tiny.make_config(tmp_path / 'run', {**options, 'resume': True}))
    tiny.train(tiny.make_config(tmp_path / 'new', {**options, 'train_cfg.max_epochs': 1}))


def test_check_dataset_says_so(renamed, tmp_path, monkeypatch, capsys):
    config = tiny.write_config(tmp_path, renamed)
    with pytest.raises(SystemExit):
        tiny.run_script('tools/check_dataset.py', config, monkeypatch=monkeypatch)
    said = capsys.readouterr().out
    assert "has class 3 '4', CustomDataset in" in said and said.endswith('1 problem found\n')
