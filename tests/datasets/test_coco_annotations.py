import json

import downstream
import numpy as np
import pytest
from mmdet.datasets import CocoDataset
from mmdet.datasets.transforms import LoadAnnotations

from mixskd_mm.datasets.class_names import check_category_order
from mixskd_mm.datasets.coco_annotations import annotation_notices, inspect_annotations, inspect_when_read
from mixskd_mm.errors import InputError

NAN, INF = float('nan'), float('inf')
CLASSES = ('ant', 'bee')


def content():
    """Two images of 64 x 48 with a box each."""
    return dict(
        images=[dict(id=i, file_name=f'{i}.png', width=64, height=48) for i in (5, 6)],
        categories=[dict(id=i, name=name) for i, name in enumerate((*CLASSES, 'cat'))],
        annotations=[
            dict(id=i, image_id=4 + i, category_id=0, bbox=[1, 2, 10, 20.5], area=205, iscrowd=0) for i in (1, 2)
        ],
    )


def changed(part, index, **values):
    """The content with other values of one image, category or annotation; None takes a value away."""
    result = content()
    row = result[part][index]
    row.update(values)
    result[part][index] = {key: value for key, value in row.items() if value is not None}
    return result


def inspect(found):
    return inspect_annotations(found, 'a.json', CLASSES)


def test_a_sound_file():
    found = inspect(content())
    assert found.file == 'a.json' and found.boxes == 2 and found.notices == ()
    assert found.images == {5: '5.png', 6: '6.png'}
    assert [category['name'] for category in found.categories] == ['ant', 'bee', 'cat']


@pytest.mark.parametrize(
    ('found', 'told'),
    [
        ([], 'a.json holds no dict'),
        ({}, 'a.json has no list of categories'),
        (dict(content(), images={}), 'a.json has no list of images'),
        (dict(content(), annotations=[1]), 'a.json has no list of annotations'),
        (
            changed('images', 1, width=None),
            'a.json: 1 of 2 images have no width (first: images[1]): expected id, file_name,',
        ),
        (changed('annotations', 0, bbox=None), 'a.json: 1 of 2 annotations have no bbox (first: annotations[0])'),
        (changed('annotations', 1, area=None), 'a.json: 1 of 2 annotations have no area (first: annotations[1])'),
        (changed('annotations', 0, image_id=[5]), 'a.json: annotations have image_id [5]: expected a whole number'),
        (changed('images', 0, id=6), 'a.json: 1 ids of images are there several times (first: id 6)'),
        (changed('annotations', 0, id=2), 'a.json: 1 ids of annotations are there several times (first: id 2)'),
        (changed('categories', 0, id=1), 'a.json: 1 ids of categories are there several times (first: id 1)'),
        (changed('images', 0, height=0), 'a.json: image 5 (5.png) is 64 x 0: expected numbers of pixels'),
        (changed('images', 0, width=NAN), 'a.json: image 5 (5.png) is nan x 48: expected numbers of pixels'),
        (changed('images', 1, file_name=3), 'a.json: image 6 has file_name 3: expected a name'),
    ],
)
def test_parts_that_cannot_be(found, told):
    with pytest.raises(InputError) as error:
        inspect(found)
    assert str(error.value).startswith(told)


@pytest.mark.parametrize(
    'values',
    [
        dict(bbox=[NAN, 2, 10, 20]),
        dict(bbox=[1, 2, INF, 20]),
        dict(bbox=[0, 0, 1e30, 1e30]),
        dict(bbox=[-1e30, 0, 10, 10]),
        dict(bbox=[0, 6401, 10, 10]),
        dict(bbox=[1, 2, 10]),
        dict(bbox=['1', '2', '10', '20']),
        dict(bbox=7),
        dict(area=INF),
        dict(area='205'),
    ],
)
def test_numbers_that_cannot_be(values):
    with pytest.raises(InputError) as error:
        inspect(changed('annotations', 1, **values))
    assert str(error.value).startswith(
        'a.json: 1 of 2 annotations have numbers that cannot be (first: annotation 2, image 6, category 0, with bbox '
    )
    assert 'expected finite x, y, width and height' in str(error.value)


@pytest.mark.parametrize(
    'polygons',
    [[[1, 2, 3, 4, 5, NAN]], [[1, 1, 2, 2, 3, 3], [0, 0, 1e30, 0, 0, 1]], [['1', '2', '3', '4', '5', '6']], [7]],
)
def test_polygons_that_cannot_be(polygons):
    found = changed('annotations', 1, segmentation=polygons)
    assert inspect(found).boxes == 2
    with pytest.raises(
        InputError, match=r'^a\.json: the mask of annotation 2, image 6, category 0 has numbers that cannot'
    ):
        inspect_annotations(found, 'a.json', CLASSES, with_masks=True)


@pytest.mark.parametrize('mask', [[[1, 2, 3, 4, 5.5, 70]], [], dict(counts='04', size=[48, 64]), None])
def test_masks_that_can_be(mask):
    assert (
        inspect_annotations(changed('annotations', 1, segmentation=mask), 'a.json', CLASSES, with_masks=True).boxes == 2
    )


NOT_COUNTED = [
    (dict(image_id=9), 'of images that the file does not list', 9, 0),
    (dict(category_id=9), 'of categories that the file does not list', 6, 9),
    (dict(category_id='0'), 'of categories that the file does not list', 6, '0'),
    (dict(category_id=2), 'of classes that the config does not have', 6, 2),
    (dict(bbox=[1, 2, 0, 0]), 'boxes of less than a pixel', 6, 0),
    (dict(bbox=[30, 30, -5, 5]), 'boxes of less than a pixel', 6, 0),
    (dict(area=0), 'boxes of less than a pixel', 6, 0),
    (dict(bbox=[64, 0, 5, 5]), 'boxes outside of their images', 6, 0),
    (dict(bbox=[0, -5, 5, 5]), 'boxes outside of their images', 6, 0),
    (dict(iscrowd=1), 'crowds', 6, 0),
    (dict(ignore=True), 'marked to be ignored', 6, 0),
]


@pytest.mark.parametrize(('values', 'reason', 'image', 'category'), NOT_COUNTED)
def test_annotations_that_do_not_count_are_said(values, reason, image, category):
    found = inspect(changed('annotations', 1, **values))
    line = f'1 of 2 annotations do not count: {reason} (first: annotation 2, image {image}, category {category})'
    meant = reason in ('crowds', 'marked to be ignored')
    empty = 'a.json: 1 of 2 images have no box that counts (first: 6.png)'
    assert found.boxes == 1
    assert found.notices == ((empty,) if meant else (f'a.json: {line}', empty))


@pytest.mark.parametrize(('values', 'reason', 'image', 'category'), NOT_COUNTED)
def test_a_file_in_which_none_counts_is_refused(values, reason, image, category):
    found = content()
    for annotation in found['annotations']:
        annotation.update(values)
    with pytest.raises(
        InputError, match=rf'^a\.json: 2 of 2 annotations do not count: {reason} \(first: annotation 1, '
    ):
        inspect(found)


@pytest.mark.parametrize(('box', 'said'), [([-2, -2, 68, 52], False), ([-3, 0, 10, 10], True), ([60, 0, 7, 9], True)])
def test_boxes_that_reach_out_of_their_images(box, said):
    found = inspect(changed('annotations', 0, bbox=box))
    line = 'a.json: 1 of 2 boxes reach out of their images (first: annotation 1, image 5, category 0)'
    assert found.notices == ((line,) if said else ()) and found.boxes == 2


def test_a_file_name_of_several_images():
    line = 'a.json: 1 of 1 file names are those of several images (first: 6.png)'
    assert inspect(changed('images', 0, file_name='6.png')).notices == (line,)


def test_a_list_of_images_has_no_boxes():
    found = inspect({key: value for key, value in content().items() if key != 'annotations'})
    assert found.boxes == 0 and found.notices == ('a.json: 2 of 2 images have no box that counts (first: 5.png)',)


def test_what_counts_is_what_mmdet_trains_on(coco):
    """For boxes of all sizes in and around images."""
    random = np.random.default_rng(0)
    found = coco.content()
    width = downstream.scenes()[0][0].shape[1]
    found['annotations'] = [
        dict(
            id=i,
            image_id=i % 3,
            category_id=int(random.integers(0, 90)),
            bbox=[*random.uniform(-width, 1.5 * width, 2), *random.uniform(-3, width, 2)],
            area=float(random.uniform(-1, 9)),
            ignore=bool(random.random() < 0.1),
            iscrowd=int(random.random() < 0.1),
        )
        for i in range(300)
    ]
    dataset = coco.build(found)
    instances = [one for i in range(len(dataset)) for one in dataset.get_data_info(i)['instances']]
    assert dataset.coco_annotations.boxes == sum(not one['ignore_flag'] for one in instances) > 20


class Coco:
    """The tiny data set in COCO's layout, built by mmdet from other annotations."""

    def __init__(self, folder):
        self.file = folder / 'other.json'

    def content(self):
        return json.loads((downstream.coco() / 'annotations/instances_train2017.json').read_text())

    def build(self, content, **settings):
        self.file.write_text(content if isinstance(content, str) else json.dumps(content))
        place = dict(data_root=str(downstream.coco()), data_prefix=dict(img='train2017/'))
        return CocoDataset(ann_file=str(self.file), **place, **settings)


@pytest.fixture
def coco(tmp_path):
    inspect_when_read()
    return Coco(tmp_path)


def test_mmdet_reads_the_file_once(coco):
    dataset = coco.build(coco.content())
    assert dataset.coco_annotations.file == str(coco.file) and dataset.coco_annotations.boxes == 6
    assert annotation_notices(dataset) == () and len(dataset) == 2
    # A second reading would find other categories.
    coco.file.write_text('{"categories": []}')
    check_category_order(dataset)


@pytest.mark.parametrize('damage', [dict(annotations=[]), dict(annotations=None)])
def test_nothing_to_train_on_is_refused_and_nothing_to_predict_is_not(damage, coco):
    found = {key: value for key, value in {**coco.content(), **damage}.items() if value is not None}
    with pytest.raises(InputError, match=rf'^{coco.file} has no annotations: expected boxes to train on$'):
        coco.build(found)
    dataset = coco.build(found, test_mode=True)
    assert annotation_notices(dataset) == (f'{coco.file}: 2 of 2 images have no box that counts (first: 0.png)',)


def test_masks_are_inspected_where_they_are_loaded(coco):
    found = coco.content()
    found['annotations'][3]['segmentation'] = [[0, 0, 9, 9, float('inf'), 9]]
    assert len(coco.build(found, pipeline=[LoadAnnotations(with_bbox=True)])) == 2
    with pytest.raises(InputError, match=rf'^{coco.file}: the mask of annotation 4, image 1, '):
        coco.build(found, pipeline=[LoadAnnotations(with_bbox=True, with_mask=True)])


def test_damaged_files_are_refused_where_mmdet_would_fail_or_not(coco):
    found = coco.content()
    for damaged, told in (
        ('{"images": [', r'is no JSON of a dict \('),
        ('[]', r'is no JSON of a dict \('),
        (
            dict(found, images=[dict(image, id=0) for image in found['images']]),
            '1 ids of images are there several times',
        ),
        (
            dict(found, categories=[dict(id=k, name=str(k)) for k in range(1, 81)]),
            'of classes that the config does not',
        ),
    ):
        with pytest.raises(InputError, match=rf'^{coco.file}:? .*{told}'):
            coco.build(damaged)
