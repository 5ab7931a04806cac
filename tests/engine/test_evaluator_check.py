import json

import downstream
import pytest
from mmdet.datasets import CocoDataset
from mmdet.evaluation import CocoMetric
from mmpretrain.evaluation import Accuracy, ConfusionMatrix, MultiLabelMetric

from mixskd_mm.datasets.coco_annotations import inspect_when_read
from mixskd_mm.engine.evaluator_check import check_evaluators, check_topk, same_file
from mixskd_mm.errors import InputError
from mixskd_mm.evaluation import PairAccuracy


def check(metrics, configs, datasets=(), num_classes=None):
    """The notices of evaluators."""
    return list(check_evaluators(metrics, configs, 'val_evaluator', datasets, num_classes))


@pytest.mark.parametrize('topk', [1, 5, (1, 5), [5], None, ()])
def test_classes_that_there_are(topk):
    check_topk(topk, 5, 'val_evaluator.topk')


@pytest.mark.parametrize('topk', [6, 0, (1, 6), (-1, 2)])
def test_more_classes_than_there_are(topk):
    with pytest.raises(InputError) as error:
        check_topk(topk, 5, 'val_evaluator.topk')
    assert str(error.value) == f'val_evaluator.topk={topk}: expected 1 to 5, since head.num_classes=5'


@pytest.mark.parametrize('kind', [Accuracy, PairAccuracy])
def test_accuracies_are_compared_with_the_head(kind):
    metric = kind(topk=(1, 5))
    assert check([metric], dict(topk=(1, 5)), num_classes=5) == [] == check([metric], dict(), num_classes=None)
    with pytest.raises(InputError, match=r'^val_evaluator\.topk=\(1, 5\): expected 1 to 4, since head\.num_classes=4$'):
        check([metric], dict(topk=(1, 5)), num_classes=4)
    with pytest.raises(InputError, match=r'^val_evaluator\.1\.topk=\(1, 5\): expected 1 to 4'):
        check([ConfusionMatrix(), metric], [dict(), dict()], num_classes=4)
    with pytest.raises(InputError, match=r'^val_evaluator\.topk=5: expected 1 to 4'):
        check([MultiLabelMetric(topk=5)], dict(), num_classes=4)


ANNOTATIONS = 'annotations/instances_val2017.json'


@pytest.fixture(scope='module')
def dataset():
    inspect_when_read()
    return build(downstream.coco() / ANNOTATIONS)


def build(file, **settings):
    prefix = dict(img=f'{downstream.coco()}/val2017/')
    return CocoDataset(ann_file=str(file), data_prefix=prefix, test_mode=True, **settings)


@pytest.fixture
def other(tmp_path):
    """Function: write another annotation file, of what ``change`` makes of the data set's; returns its path."""

    def write(change=lambda content: None):
        content = json.loads((downstream.coco() / ANNOTATIONS).read_text())
        change(content)
        path = tmp_path / 'other.json'
        path.write_text(json.dumps(content))
        return path

    return write


def check_file(file, *datasets, **settings):
    """The notices of a CocoMetric with that file."""
    return check([CocoMetric(ann_file=str(file), **settings)], dict(ann_file=str(file)), datasets)


def test_the_data_sets_own_file_or_a_copy(dataset, other, tmp_path):
    (tmp_path / 'link.json').symlink_to(dataset.ann_file)
    for file in (dataset.ann_file, tmp_path / 'link.json', other()):
        assert check_file(file, dataset) == []
    assert check([CocoMetric()], dict(), [dataset]) == []


@pytest.mark.parametrize(
    ('change', 'told'),
    [
        (
            lambda content: content['images'].pop(),
            r'1 of the 2 images of CocoDataset in .* are not in it, .*first: 1\.png, id 1',
        ),
        (
            lambda content: content['images'][0].update(id=7),
            r'1 of the 2 images of .* others have their ids \(first: 0\.png',
        ),
        (
            lambda content: content['images'][1].update(file_name='a/7.png'),
            r'1 of the 2 images .*first: 1\.png, id 1\)',
        ),
        (
            lambda content: content['images'].append(dict(content['images'][0], id=9, file_name='9.png')),
            r'has 1 images that CocoDataset in .* does not have \(first: 9\.png, id 9\): expected the annotations',
        ),
        (
            lambda content: content['categories'].reverse(),
            r"has class 0 'toothbrush', the data set's metainfo has 'person'",
        ),
        (lambda content: content['categories'].pop(), r'has annotations of 79 of the 80 classes'),
        (lambda content: content['annotations'][0].update(bbox=[float('nan')] * 4), r'have numbers that cannot be'),
    ],
)
def test_annotations_of_something_else_are_refused(change, told, dataset, other):
    file = other(change)
    with pytest.raises(InputError, match=rf'^.*{file}.*{told}'):
        check_file(file, dataset)


def test_images_that_are_not_evaluated_are_said(dataset):
    (line,) = check_file(dataset.ann_file, build(dataset.ann_file, indices=[1]))
    assert line == (
        f'val_evaluator.ann_file={dataset.ann_file} has 2 images, of which 1 are evaluated: all boxes of the others count '
        'as missed'
    )


def test_several_data_sets_need_the_images_of_all(dataset, other):
    def second_half(content):
        for image in content['images']:
            image.update(id=image['id'] + 2)
        for annotation in content['annotations']:
            annotation.update(image_id=annotation['image_id'] + 2)

    half = build(other(second_half))
    with pytest.raises(InputError, match=r'2 of the 2 images of CocoDataset in .*other\.json'):
        check_file(dataset.ann_file, dataset, half)


def test_nothing_to_evaluate_is_refused_and_to_write_results_is_not(other):
    empty = build(other(lambda content: content.pop('annotations')))
    with pytest.raises(
        InputError, match=r"^CocoDataset in '.*other\.json' has no annotations: expected boxes to evaluate$"
    ):
        check_file(empty.ann_file, empty)
    assert check_file(empty.ann_file, empty, format_only=True, outfile_prefix='results') == []


def test_another_evaluators_other_file_is_said(dataset):
    (line,) = check([Accuracy()], dict(ann_file='other.odgt'), [dataset])
    assert (
        line == f"val_evaluator.ann_file=other.odgt is not the annotation file of CocoDataset in '{dataset.ann_file}'"
    )
    assert check([Accuracy()], dict(ann_file=dataset.ann_file), [dataset]) == []


def test_files_of_one_name(tmp_path):
    assert same_file('s3://a.json', 's3://a.json') and not same_file('', '') and not same_file(None, 'a')
    assert not same_file(str(tmp_path / 'a'), str(tmp_path / 'b'))
