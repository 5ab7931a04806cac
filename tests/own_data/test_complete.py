"""What the data complete in each kind of recipe."""

import json
from argparse import Namespace

import cv2
import downstream
import numpy as np
import pytest
import tiny
from mmengine.config import Config
from mmengine.registry import DATASETS, DefaultScope

from mixskd_mm.cli import load_config
from mixskd_mm.errors import InputError
from mixskd_mm.own_data import complete
from mixskd_mm.settings.keys import check_keys

MIXSKD = 'mixskd_r50_folder.py'
BOXES = 'detection/cascade-rcnn_r50-mixskd-pre_fpn_own.py'
MASKS = 'segmentation/deeplabv3_r50-d8-mixskd-pre_own-512x512.py'


def completed(recipe, root, **options):
    options = {'data_root': str(root), **{key.replace('__', '.'): value for key, value in options.items()}}
    config = str(tiny.ROOT / 'configs' / recipe)
    return load_config(
        Namespace(config=config, on=None, cfg_options=options, launcher='none', work_dir=None, local_rank=0)
    )


def photographs(root, classes='abc', number=4):
    for name in classes:
        for i in range(number):
            downstream.write(root / name / f'{i}.png', np.full((8, 8, 3), i, np.uint8))
    return root


@pytest.mark.parametrize('recipe', ['baseline_r50_folder.py', 'mixup_r50_folder.py', MIXSKD])
def test_one_folder_is_split_and_counted(tmp_path, recipe):
    cfg = completed(recipe, photographs(tmp_path, 'abcdefg', 10))
    assert cfg.model.head.num_classes == cfg.data_preprocessor.num_classes == 7
    train, val = cfg.train_dataloader.dataset, cfg.val_dataloader.dataset
    assert (train.part, val.part, train.classes) == ('train', 'val', list('abcdefg'))
    assert cfg.test_dataloader.dataset == val
    assert cfg.val_evaluator.topk == cfg.test_evaluator.topk == (1, 5)
    # 56 images of 5,994 would be 107 times the epochs: five times at most.
    assert cfg.train_cfg.max_epochs == 5 * 205 and cfg.train_cfg.val_interval == 25
    warm_up, decay = cfg.param_scheduler
    assert (warm_up['end'], decay['milestones']) == (25, [525, 775])
    assert cfg.train_dataloader.drop_last and cfg.optim_wrapper.clip_grad.max_norm == 5


def test_two_folders_are_taken_as_they_are(tmp_path):
    photographs(tmp_path / 'train', 'abc'), photographs(tmp_path / 'valid', 'ac')
    cfg = completed(MIXSKD, tmp_path)
    prefixes = [cfg[f'{loader}_dataloader'].dataset.data_prefix for loader in ('train', 'val', 'test')]
    assert prefixes == ['train', 'valid', 'valid'] and cfg.val_dataloader.dataset.part is None
    # A class without images to validate with shifts no label.
    with DefaultScope.overwrite_default_scope('mmpretrain'):
        assert set(DATASETS.build(cfg.val_dataloader.dataset).get_gt_labels()) == {0, 2}
    assert cfg.val_evaluator.topk == (1,) and not cfg.train_dataloader.drop_last


def test_what_the_user_asks_for_stays_and_the_schedule_follows(tmp_path):
    cfg = completed(MIXSKD, photographs(tmp_path), train_cfg__max_epochs=41, train_cfg__val_interval=3)
    assert cfg.train_cfg.max_epochs == 41 and cfg.train_cfg.val_interval == 3
    assert cfg.param_scheduler[0]['end'] == 1 and cfg.param_scheduler[1]['milestones'] == [21, 31]


def test_a_completed_config_stays_as_it_is(tmp_path):
    cfg = completed(MIXSKD, photographs(tmp_path))
    again = Config(cfg.to_dict())
    complete(again)
    assert again.to_dict() == cfg.to_dict()


def test_as_many_images_as_the_papers_sets_have_its_epochs(tmp_path):
    cfg = completed(MIXSKD, photographs(tmp_path, number=10), own_data__images=24)
    assert (cfg.train_cfg.max_epochs, cfg.param_scheduler[1]['milestones']) == (205, [105, 155])


def test_boxes(tmp_path):
    image, _, boxes = downstream.scenes()[0]
    categories = [dict(id=7, name='one'), dict(id=3, name='two')]
    x, y, w, h, _ = map(int, boxes[0])
    box = dict(id=1, image_id=1, category_id=3, bbox=[x, y, w, h], area=w * h, iscrowd=0)
    size = dict(height=image.shape[0], width=image.shape[1])
    file = dict(images=[dict(id=1, file_name='1.png', **size)], annotations=[box], categories=categories)
    for part in ('train', 'val'):
        downstream.write(tmp_path / part / '1.png', image)
        path = tmp_path / 'annotations' / f'{part}.json'
        path.parent.mkdir(exist_ok=True)
        path.write_text(json.dumps(file))
    cfg = completed(BOXES, tmp_path)
    assert [head['num_classes'] for head in cfg.model.roi_head.bbox_head] == [2, 2, 2]
    assert cfg.val_evaluator.ann_file == cfg.test_evaluator.ann_file == str(tmp_path / 'annotations' / 'val.json')
    assert cfg.train_cfg.max_epochs == 60
    with DefaultScope.overwrite_default_scope('mmdet'):
        dataset = DATASETS.build(dict(cfg.train_dataloader.dataset, pipeline=[]))
    assert dataset.metainfo['classes'] == ('one', 'two')
    assert [one['bbox_label'] for one in dataset.get_data_info(0)['instances']] == [1]
    path.write_text(json.dumps(dict(file, categories=categories[::-1])))
    with pytest.raises(InputError, match='other than those of training'):
        completed(BOXES, tmp_path)


@pytest.mark.parametrize('split', [True, False])
def test_masks(tmp_path, split):
    for i in range(4):
        part = '' if split else ('train', 'val')[i % 2]
        downstream.write(tmp_path / 'images' / part / f'{i}.jpg', np.zeros((8, 8, 3), np.uint8))
        mask = np.full((8, 8), 255, np.uint8)
        mask[0, 0] = i
        downstream.write(tmp_path / 'masks' / part / f'{i}.png', mask)
    cfg = completed(MASKS, tmp_path)
    assert cfg.model.decode_head.num_classes == cfg.model.auxiliary_head.num_classes == 4
    assert cfg.train_cfg.max_iters == 4000 == cfg.param_scheduler[0]['end'] and cfg.train_cfg.val_interval == 400
    with DefaultScope.overwrite_default_scope('mmseg'):
        train, val = (DATASETS.build(dict(cfg[f'{part}_dataloader'].dataset, pipeline=[])) for part in ('train', 'val'))
    assert (len(train), len(val)) == ((3, 1) if split else (2, 2))
    assert train.metainfo['classes'] == tuple(f'class {i}' for i in range(4))
    (tmp_path / 'classes.txt').write_text('sky\nroad\ncar\ntree\ndog\n')
    assert completed(MASKS, tmp_path).train_dataloader.dataset.metainfo.classes == ('sky', 'road', 'car', 'tree', 'dog')
    cv2.imwrite(str(tmp_path / 'images' / '9.png'), mask)
    if split:
        with pytest.raises(InputError, match=r'9\.png has no mask'):
            for part in (train, val):
                part.load_data_list()


def test_wrong_data_ends_in_one_line(tmp_path):
    empty = tmp_path / 'empty'
    empty.mkdir()
    only = tmp_path / 'only'
    photographs(only / 'train')
    single = photographs(tmp_path / 'single', number=1)
    for recipe, root, message in (
        (MIXSKD, '', 'has no data_root'),
        (MIXSKD, tmp_path / 'none', 'no such folder'),
        (MIXSKD, empty, 'has 0 classes: expected two or more'),
        (MIXSKD, only, 'has a folder train and no val'),
        (MIXSKD, single, 'has 1 images: expected at least two images'),
        (BOXES, empty, 'has no annotations for train'),
        (MASKS, empty, 'has no folder images'),
    ):
        with pytest.raises(InputError, match=message):
            completed(recipe, root)
    with pytest.raises(InputError, match='val_fraction=2'):
        completed(MIXSKD, photographs(tmp_path / 'good'), own_data__val_fraction=2)


@pytest.mark.parametrize('recipe', [MIXSKD, BOXES, MASKS])
def test_its_settings_are_known(recipe):
    assert list(check_keys(Config.fromfile(tiny.ROOT / 'configs' / recipe))) == []


def test_a_misspelt_setting_is_refused(tmp_path):
    with pytest.raises(InputError, match=r'own_data\.val_fracton=0\.1: no such setting'):
        completed(MIXSKD, photographs(tmp_path), own_data__val_fracton=0.1)
