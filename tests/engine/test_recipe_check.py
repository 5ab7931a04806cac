import json
import shutil
from pathlib import Path
from types import SimpleNamespace

import cv2
import downstream
import numpy as np
import pytest
import tiny
import torch
from mmcv.transforms import LoadImageFromFile
from mmdet.datasets import CocoDataset
from mmengine.hooks import Hook

from mixskd_mm.engine.recipe_check import (
    RecipeCheckHook,
    absent_notice,
    batch_notice,
    check_classes,
    check_data,
    check_dataset_labels,
    check_not_empty,
    dense_head_classes,
)
from mixskd_mm.errors import InputError


class Dataset:
    data_root = 'data/birds'

    def __init__(self, labels):
        self.labels = labels

    def get_gt_labels(self):
        return self.labels


@pytest.mark.parametrize('labels', [[0, 9, 3], [], np.array([5])])
def test_labels_of_the_head_pass(labels):
    check_dataset_labels(Dataset(labels), 10)


@pytest.mark.parametrize(('labels', 'found'), [([0, 10], '0 to 10'), ([-1, 2], '-1 to 2'), ([200], '200 to 200')])
def test_labels_outside_the_head_are_named_with_their_data_set(labels, found):
    with pytest.raises(InputError) as error:
        check_dataset_labels(Dataset(labels), 10)
    assert str(error.value) == (
        f"Dataset in 'data/birds' has labels {found}: expected 0 to 9, since head.num_classes=10"
    )


@pytest.mark.parametrize('labels', [[[0, 1], [2, 3]], np.array([[0.5, 0.5]])])
def test_several_labels_an_image_are_refused(labels):
    with pytest.raises(InputError, match='Dataset has several labels an image: expected one class index each'):
        check_dataset_labels(Dataset(labels), 10)


def test_labels_in_lists_of_different_lengths_are_refused():
    with pytest.raises(InputError, match='several labels an image'):
        check_dataset_labels(Dataset(np.array([[0], [1, 2]], dtype=object)), 10)


def test_classes_without_an_image_are_counted_and_the_first_is_named():
    dataset = Dataset([0, 3, 3])
    assert (
        absent_notice(check_dataset_labels(dataset, 4), dataset, 4)
        == "Dataset in 'data/birds' has no image of 2 of the 4 classes (first: 1)"
    )
    dataset.metainfo = dict(classes=('a', 'b', 'c', 'd'))
    assert (
        absent_notice(check_dataset_labels(dataset, 4), dataset, 4)
        == "Dataset in 'data/birds' has no image of 2 of the 4 classes (first: 'b')"
    )
    assert absent_notice({1, 0}, dataset, 2) is None


def test_data_sets_without_labels_pass():
    check_dataset_labels(SimpleNamespace(), 10)


def notice(**changes):
    usual = dict(recipe_batch=256, scaled=False, num_processes=8, batch_size=32, accumulative_counts=1, lr=0.1)
    return batch_notice(**{**usual, **changes})


@pytest.mark.parametrize(
    'same_batch',
    [
        dict(),
        dict(scaled=True),
        dict(num_processes=4, batch_size=64),
        dict(num_processes=2, accumulative_counts=4),
        dict(recipe_batch=None, num_processes=3),
    ],
)
def test_no_notice_for_the_batch_of_the_recipe(same_batch):
    assert notice(**same_batch) is None


@pytest.mark.parametrize(
    ('changes', 'expected'),
    [
        (
            dict(num_processes=2),
            "The global batch is 64 (2 x 32), not the recipe's 256: the learning rate stays 0.1; --auto-scale-lr would "
            'make it 0.025',
        ),
        (
            dict(num_processes=16, lr=0.2, scaled=True),
            "The global batch is 512 (16 x 32), not the recipe's 256: --auto-scale-lr made the learning rate 0.2",
        ),
        (
            dict(num_processes=2, accumulative_counts=2),
            "The global batch is 128 (2 x 32 x 2 accumulated), not the recipe's 256: the learning rate stays 0.1; "
            '--auto-scale-lr would make it 0.025',
        ),
        (
            dict(num_processes=1, batch_size=128, accumulative_counts=4, lr=0.05, scaled=True),
            "The global batch is 512 (1 x 128 x 4 accumulated), not the recipe's 256: --auto-scale-lr made the learning "
            'rate 0.05',
        ),
    ],
)
def test_one_line_says_what_another_batch_means(changes, expected):
    assert notice(**changes) == expected


class LearningRate(Hook):
    def before_train_iter(self, runner, batch_idx, data_batch=None):
        if runner.iter == 0:
            self.first = runner.optim_wrapper.param_groups[0]['lr']


@pytest.mark.parametrize(('scaled', 'warm_up'), [(False, True), (True, False), (True, True)])
def test_the_notice_in_the_log_tells_the_rate_that_the_run_has(tmp_path, scaled, warm_up):
    options = {'auto_scale_lr': dict(base_batch_size=40, enable=scaled), 'train_cfg.max_epochs': 1}
    if warm_up:
        options['param_scheduler'] = [dict(type='LinearLR', start_factor=0.1, by_epoch=False, end=3)]
    rate = LearningRate()
    tiny.train(tiny.make_config(tmp_path, options), rate)
    said = (
        '--auto-scale-lr made the learning rate 0.0125'
        if scaled
        else ('the learning rate stays 0.05; --auto-scale-lr would make it 0.0125')
    )
    assert f"The global batch is 10 (1 x 10), not the recipe's 40: {said}\n" in tiny.log_text(tmp_path)
    assert rate.first == pytest.approx((0.0125 if scaled else 0.05) * (0.1 if warm_up else 1))


def test_accumulation_counts_and_the_recipes_batch_needs_no_notice(tmp_path):
    options = {'auto_scale_lr.base_batch_size': 20, 'optim_wrapper.accumulative_counts': 2, 'train_cfg.max_epochs': 1}
    tiny.train(tiny.make_config(tmp_path, options))
    assert 'global batch' not in tiny.log_text(tmp_path)


class CountIterations(Hook):
    count = 0

    def before_train_iter(self, runner, batch_idx, data_batch=None):
        self.count += 1


@pytest.mark.parametrize('method', ['mixskd', 'baseline'])
def test_labels_are_checked_before_training_starts(tmp_path, method):
    options = {'model.head.num_classes': 7, 'data_preprocessor.num_classes': 7}
    iterations = CountIterations()
    with pytest.raises(InputError, match=r'has labels 0 to 9: expected 0 to 6, since head\.num_classes=7') as error:
        tiny.train(tiny.make_config(tmp_path, options, method=method), iterations)
    assert f'CustomDataset in {str(tiny.digits())!r}' in str(error.value)
    assert iterations.count == 0
    assert list(tmp_path.glob('*.pth')) == []


@pytest.fixture(scope='module')
def trained(tmp_path_factory):
    work_dir = tmp_path_factory.mktemp('trained')
    tiny.train(tiny.make_config(work_dir, {'train_cfg.max_epochs': 1}))
    return work_dir / 'epoch_1.pth'


@pytest.mark.parametrize('name', ['val', 'test'])
def test_evaluators_are_checked_before_training_and_before_testing(name, trained, tmp_path):
    cfg = tiny.make_config(tmp_path, {f'{name}_evaluator.topk': (1, 11)})
    told = rf'^{name}_evaluator\.topk=\(1, 11\): expected 1 to 10, since head\.num_classes=10$'
    iterations = CountIterations()
    with pytest.raises(InputError, match=told):
        tiny.train(cfg, iterations) if name == 'val' else tiny.evaluate(cfg, trained)
    assert iterations.count == 0


def test_the_heads_own_accuracy_is_checked(tmp_path):
    options = {'model.head.topk': (1, 11), 'model.head.cal_acc': True}
    with pytest.raises(InputError, match=r'^model\.head\.topk=\(1, 11\): expected 1 to 10'):
        tiny.train(tiny.make_config(tmp_path, options, method='baseline'))


def test_the_log_says_which_files_are_not_taken_and_which_classes_are_not_validated(tmp_path):
    root = shutil.copytree(tiny.digits(), tmp_path / 'digits')
    first = min(root.glob('train/3/*')).rename(root / 'train/3/0.webp')
    for path in (root / 'test/6').iterdir():
        path.unlink()
    tiny.train(tiny.make_config(tmp_path / 'run', {'train_cfg.max_epochs': 1}, data_root=root))
    log = tiny.log_text(tmp_path / 'run')
    assert f'{root}/train: 1 of 40 files are not taken: 1 .webp (first: {first}): expected ' in log
    assert f"CustomDataset in '{root}' has no image of 1 of the 10 classes (first: '6')\n" in log


def test_missing_images_of_a_list_are_refused_before_training_and_before_testing(trained, tmp_path):
    root = shutil.copytree(tiny.digits(), tmp_path / 'digits')
    paths = sorted((root / 'test').rglob('*.png'))
    (root / 'test.txt').write_text(''.join(f'{path.parent.name}/{path.name} {path.parent.name}\n' for path in paths))
    paths[-1].unlink()
    names = [str(digit) for digit in range(10)]
    lists = {
        f'{name}_dataloader.dataset.{key}': value
        for name in ('val', 'test')
        for key, value in dict(ann_file='test.txt', classes=names).items()
    }
    told = rf"^1 of the 50 images of CustomDataset in '{root}/test\.txt' do not exist \(first: {paths[-1]}\): expected all$"
    with pytest.raises(InputError, match=told):
        tiny.train(tiny.make_config(tmp_path / 'run', lists, data_root=root))
    with pytest.raises(InputError, match=told):
        tiny.evaluate(tiny.make_config(tmp_path / 'test', lists, data_root=root), trained)


class Boxes:
    """Stands for mmdet's CocoDataset: categories found in the annotation file, of those of the config."""

    def __init__(self, folder, found, classes):
        self.ann_file = str(folder / 'train.json')
        categories = [dict(id=i, name=str(i)) for i in range(found)]
        Path(self.ann_file).write_text(json.dumps(dict(categories=categories)))
        self.cat_ids, self.metainfo = list(range(found)), dict(classes=tuple(map(str, range(classes))))

    def __len__(self):
        return 3


def test_annotations_of_other_classes_are_refused(tmp_path):
    heads = {'roi_head.bbox_head.0': 10}
    check_classes(Boxes(tmp_path, 10, 10), heads)
    with pytest.raises(InputError, match=r"Boxes in '.*train\.json' has annotations of 4 of the 10 classes"):
        check_classes(Boxes(tmp_path, 4, 10), heads)
    with pytest.raises(InputError, match=r'roi_head\.bbox_head\.0\.num_classes=10: expected 80'):
        check_classes(Boxes(tmp_path, 80, 80), heads)


def test_heads_are_found_by_name():
    model = torch.nn.Module()
    for name, classes in (('rpn_head', 1), ('decode_head', 11), ('auxiliary_head', 11)):
        model.add_module(name, torch.nn.Module())
        getattr(model, name).num_classes = classes
    model.roi_head = torch.nn.Module()
    model.roi_head.bbox_head = torch.nn.ModuleList([torch.nn.Module()])
    model.roi_head.bbox_head[0].num_classes = 80
    assert dense_head_classes(model) == {'decode_head': 11, 'auxiliary_head': 11, 'roi_head.bbox_head.0': 80}


class Notices:
    """Stands for a runner: what it logs."""

    def __init__(self):
        self.lines, self.logger = [], self

    def warning(self, line):
        self.lines.append(line)


def test_a_detectors_data_are_inspected_while_they_are_read(tmp_path):
    root = shutil.copytree(downstream.coco(), tmp_path / 'coco')
    file = root / 'annotations/instances_train2017.json'
    content = json.loads(file.read_text())
    content['annotations'][0]['category_id'] = 99
    file.write_text(json.dumps(content))
    # The Runner builds hooks before data sets.
    RecipeCheckHook()
    config = dict(ann_file=str(file), data_root=f'{root}/', data_prefix=dict(img='train2017/'))
    dataset = CocoDataset(pipeline=[LoadImageFromFile()], **config)
    detector = torch.nn.Module()
    detector.bbox_head = torch.nn.Module()
    detector.bbox_head.num_classes = 80
    runner = Notices()
    check_data(runner, [dataset], detector)
    assert runner.lines == [
        f'{file}: 1 of 6 annotations do not count: of categories that the file does not list (first: annotation 1, image 0, '
        'category 99)'
    ]
    for damage, told in (
        (lambda: (root / 'train2017/1.png').unlink(), rf'^1 of the 2 images of .* \(first: {root}/train2017/1\.png\)'),
        (lambda: shutil.copy(root / 'val2017/0.png', root / 'train2017/1.png'), None),
        (
            lambda: cv2.imwrite(str(root / 'train2017/1.png'), np.zeros((96, 72, 3))),
            r'1\.png is 72 x 96: expected 96 x 72',
        ),
    ):
        damage()
        if told is None:
            check_data(runner, [dataset], detector)
        else:
            with pytest.raises(InputError, match=told):
                check_data(runner, [dataset], detector)


class Masks(list):
    """Stands for mmseg's data sets: samples with a label map each."""

    ignore_index = 255
    metainfo = dict(classes=('a', 'b'))

    def __init__(self, *maps):
        super().__init__(
            dict(
                data_samples=SimpleNamespace(gt_sem_seg=SimpleNamespace(data=torch.tensor(m)), seg_map_path=f'{i}.png')
            )
            for i, m in enumerate(maps)
        )


def test_pixel_labels_that_are_no_class_name_their_file():
    check_classes(Masks([[0, 1, 255]]), {'decode_head': 2})
    with pytest.raises(InputError, match=r'1\.png has label 2: expected 0 to 1 or 255'):
        check_classes(Masks([[0, 1]], [[0, 2]]), {'decode_head': 2})


def test_an_empty_data_set_is_refused():
    with pytest.raises(InputError, match='has no images'):
        check_not_empty(Masks())
