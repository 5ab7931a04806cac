"""The paper's five fine-grained data sets: samples and labels from the archives' layouts, and what configs make of them."""

import copy
import functools
import math
from pathlib import Path

import cv2
import miniatures
import numpy as np
import pytest
import tiny
import torch
from miniatures import FINE_GRAINED
from mmengine.config import Config
from mmengine.registry import DefaultScope, init_default_scope
from mmengine.runner import Runner
from mmpretrain.registry import DATASETS, MODELS
from sklearn.datasets import load_sample_images

from mixskd_mm.datasets import MITIndoor67, StanfordDogs
from mixskd_mm.datasets.mit_indoor67 import CLASSES
from mixskd_mm.errors import InputError

CONFIGS = tiny.ROOT / 'configs/_base_/datasets'
# Images to train and to test, and classes: MixSKD, appendix B.1, but for MIT67, whose published lists have more.
FACTS = {
    'cub': (5994, 5794, 200),
    'stanford_dogs': (12000, 8580, 120),
    'mit67': (5360, 1340, 67),
    'stanford_cars': (8144, 8041, 196),
    'fgvc_aircraft': (6667, 3333, 100),
}
LOADERS = {'train_dataloader': 'train', 'val_dataloader': 'test', 'test_dataloader': 'test'}


@pytest.fixture(autouse=True)
def classification():
    instances = dict(DefaultScope._instance_dict)
    init_default_scope('mmpretrain')
    yield
    DefaultScope._instance_dict.clear()
    DefaultScope._instance_dict.update(instances)


@functools.cache
def read(name):
    return Config.fromfile(CONFIGS / f'{name}.py')


def config(name, root=None):
    """A config of configs/_base_/datasets, reading from ``root`` without worker processes."""
    cfg = copy.deepcopy(read(name))
    for loader in LOADERS:
        cfg[loader].num_workers = 0
        cfg[loader].dataset.data_root = str(root)
    return cfg


def samples_of(dataset, root):
    infos = [dataset.get_data_info(i) for i in range(len(dataset))]
    return [(Path(info['img_path']).relative_to(root).as_posix(), info['gt_label']) for info in infos]


@pytest.mark.parametrize('name', FINE_GRAINED)
@pytest.mark.parametrize('loader', LOADERS)
def test_each_image_has_the_label_of_its_list(name, loader, tmp_path):
    samples = FINE_GRAINED[name](tmp_path)
    dataset = DATASETS.build(config(name, tmp_path)[loader].dataset)
    expected = samples['trainval' if name == 'fgvc_aircraft' and loader == 'train_dataloader' else LOADERS[loader]]
    assert samples_of(dataset, tmp_path) == expected and len(expected) > 1
    assert len(dataset.metainfo['classes']) == FACTS[name][2] == config(name).data_preprocessor.num_classes


def test_stanford_cars_in_one_folder(tmp_path):
    samples = miniatures.cars_in_one(tmp_path)
    for loader, split in LOADERS.items():
        dataset = DATASETS.build(config('stanford_cars', tmp_path)[loader].dataset)
        assert samples_of(dataset, tmp_path) == samples[split]


@pytest.mark.parametrize('name', FINE_GRAINED)
def test_iterations_of_an_epoch_for_the_warm_up(name, tmp_path):
    """Known to a config based on it, as a config of a training is."""
    (tmp_path / 'training.py').write_text(
        f"_base_ = ['{CONFIGS}/{name}.py', '{CONFIGS.parent}/runtime.py']\nstart = 1 / (5 * _base_.iters_per_epoch)\n"
    )
    cfg = Config.fromfile(tmp_path / 'training.py')
    assert cfg.train_dataloader.batch_size == cfg.val_dataloader.batch_size == cfg.test_dataloader.batch_size == 32
    assert cfg.iters_per_epoch == math.ceil(FACTS[name][0] / 32)
    assert cfg.start == 1 / (5 * math.ceil(FACTS[name][0] / 32))
    train, test, classes = (f'{number:,}' for number in FACTS[name])
    first = (CONFIGS / f'{name}.py').read_text().splitlines()[0]
    assert f'{train} images to train, {test} to test, {classes} ' in first


@pytest.mark.parametrize('name', FINE_GRAINED)
def test_batches_are_red_as_the_images(name, tmp_path):
    """Files, pipelines, loaders and normalisation together: 224 x 224, in the order RGB, ImageNet's statistics."""
    FINE_GRAINED[name](tmp_path)
    cfg = config(name, tmp_path)
    preprocessor = MODELS.build(dict(type='ClsDataPreprocessor', **cfg.data_preprocessor))
    # JPEG's red of (254, 0, 0).
    red = torch.tensor([(254 - 123.675) / 58.395, -116.28 / 57.12, -103.53 / 57.375])
    for loader in LOADERS:
        batch = preprocessor(next(iter(Runner.build_dataloader(cfg[loader], seed=0))))
        assert batch['inputs'].shape[1:] == (3, 224, 224)
        torch.testing.assert_close(batch['inputs'], red[:, None, None].expand_as(batch['inputs']), rtol=0, atol=1e-4)
        assert len(batch['data_samples']) == len(batch['inputs']) > 1


def test_test_images_are_the_centre_of_the_resized_image(tmp_path):
    miniatures.mit67(tmp_path)
    photograph = np.ascontiguousarray(load_sample_images().images[0][..., ::-1])  # 640 x 427
    for file in (tmp_path / 'Images').rglob('*.jpg'):
        cv2.imwrite(str(file), photograph)
    stored = cv2.imread(str(file))
    # Short edge 256, so int(640 / 427 x 256) = 383 wide, as torchvision has it.
    centre = cv2.resize(stored, (383, 256))[16:240, 80:304]
    dataset = DATASETS.build(config('mit67', tmp_path).test_dataloader.dataset)
    assert np.array_equal(dataset[0]['inputs'].permute(1, 2, 0).numpy(), centre)


def test_training_images_are_crops_of_8_to_100_percent_half_of_them_flipped(tmp_path):
    miniatures.mit67(tmp_path)
    # Each pixel says where it is: columns in the second channel, rows in the third.
    rows, columns = np.mgrid[:200, :200].astype(np.uint8)
    for file in (tmp_path / 'Images').rglob('*.jpg'):
        assert cv2.imwrite(str(file) + '.png', np.stack([np.zeros_like(rows), columns, rows], axis=-1))
        Path(f'{file}.png').rename(file)
    dataset = DATASETS.build(config('mit67', tmp_path).train_dataloader.dataset)
    np.random.seed(0)
    areas, flips = [], 0
    for _ in range(300):
        crop = dataset[0]['inputs'].numpy().astype(float)
        assert crop.shape == (3, 224, 224)
        width, height = crop[1, 0, -1] - crop[1, 0, 0], crop[2, -1, 0] - crop[2, 0, 0]
        areas.append((abs(width) + 1) * (height + 1) / 200**2)
        flips += width < 0
        assert 0.7 < (abs(width) + 1) / (height + 1) < 1.4
    # Uniform in [0.08, 1], but for large ones that do not fit.
    assert 0.07 < min(areas) < 0.12 and 0.9 < max(areas) <= 1
    assert 110 < flips < 190


@pytest.mark.parametrize('name', FINE_GRAINED)
def test_loaders_and_metrics(name):
    cfg = config(name)
    for loader in LOADERS:
        assert cfg[loader].sampler.shuffle == (loader == 'train_dataloader')
        assert cfg[loader].pin_memory and cfg[loader].collate_fn == dict(type='default_collate')
    # As EpochSeedHook needs it.
    assert not cfg.train_dataloader.persistent_workers
    assert cfg.train_dataloader.worker_init_fn == dict(type='keep_loader_seed')
    for evaluator in (cfg.val_evaluator, cfg.test_evaluator):
        assert evaluator.type == 'Accuracy' and tuple(evaluator.topk) == (1, 5)


def test_classes_of_stanford_dogs_are_the_names_of_the_folders(tmp_path):
    miniatures.dogs(tmp_path)
    classes = StanfordDogs(data_root=str(tmp_path)).metainfo['classes']
    # The labels of the list begin with 1; only the first hyphen ends WordNet's number.
    assert (classes[0], classes[4], classes[119]) == ('Chihuahua', 'Shih-Tzu', 'African_hunting_dog')
    # Of these the list has no image.
    assert classes[1] == '2' and len(classes) == 120
    named = StanfordDogs(data_root=str(tmp_path), metainfo=dict(classes=['a', 'b']))
    assert named.metainfo['classes'] == ['a', 'b']


@pytest.mark.parametrize('number', [1, 2])
def test_a_list_of_one_or_two_dogs(tmp_path, number):
    """mat4py drops the brackets around a single entry."""
    miniatures.dogs(tmp_path)
    files = [f'n02085620-Chihuahua/n02085620_{i}.jpg' for i in range(number)]
    miniatures.write_dog_list(tmp_path / 'train_list.mat', files, [1] * number)
    assert samples_of(StanfordDogs(data_root=str(tmp_path)), tmp_path) == [(f'Images/{file}', 0) for file in files]


def test_classes_of_mit_indoor67():
    assert len(CLASSES) == len(set(CLASSES)) == 67
    assert list(CLASSES) == sorted(CLASSES)
    assert MITIndoor67.METAINFO['classes'] == CLASSES


def test_a_list_of_mit_indoor67_may_end_in_empty_lines(tmp_path):
    samples = miniatures.mit67(tmp_path)
    with (tmp_path / 'TestImages.txt').open('a') as file:
        file.write('\r\n\n')
    assert samples_of(MITIndoor67(data_root=str(tmp_path), split='test'), tmp_path) == samples['test']


def spoil_dogs(root, files=('a/1.jpg', 'b/2.jpg'), labels=(1, 2)):
    miniatures.write_dog_list(root / 'train_list.mat', list(files), list(labels))


# How to spoil a set, and how the error begins; {root} is the data_root.
WRONG = {
    'dogs, label 0': (
        miniatures.dogs,
        lambda root: spoil_dogs(root, labels=(1, 0)),
        '{root}/train_list.mat has label 0 for b/2.jpg: expected 1 to 120',
    ),
    'dogs, label 121': (
        miniatures.dogs,
        lambda root: spoil_dogs(root, labels=(121, 2)),
        '{root}/train_list.mat has label 121 for a/1.jpg: expected 1 to 120',
    ),
    'dogs, two folders': (
        miniatures.dogs,
        lambda root: spoil_dogs(root, labels=(2, 2)),
        '{root}/train_list.mat has label 2 for a and b: expected one folder a label',
    ),
    'dogs, fewer labels': (
        miniatures.dogs,
        lambda root: spoil_dogs(root, labels=(2,)),
        '{root}/train_list.mat has 2 names and 1 labels: expected as many of both, and some',
    ),
    'dogs, empty': (
        miniatures.dogs,
        lambda root: spoil_dogs(root, files=(), labels=()),
        '{root}/train_list.mat has 0 names and 0 labels: expected as many of both, and some',
    ),
    'dogs, damaged': (
        miniatures.dogs,
        lambda root: (root / 'train_list.mat').write_bytes((root / 'train_list.mat').read_bytes()[:200]),
        '{root}/train_list.mat cannot be read (',
    ),
    'dogs, no list': (
        miniatures.dogs,
        lambda root: (root / 'train_list.mat').write_text('n02085620-Chihuahua/n02085620_3.jpg\n' * 9),
        '{root}/train_list.mat cannot be read (',
    ),
    'mit67, unknown class': (
        miniatures.mit67,
        lambda root: (root / 'TrainImages.txt').write_text('bar/1.jpg\ngarden/2.jpg\n'),
        "{root}/TrainImages.txt has the line 'garden/2.jpg': expected <class>/<file>, one of 67 classes",
    ),
    'mit67, empty': (
        miniatures.mit67,
        lambda root: (root / 'TrainImages.txt').write_text('\n'),
        '{root}/TrainImages.txt is empty: expected the names of images',
    ),
    'mit67, no folder': (
        miniatures.mit67,
        lambda root: (root / 'TrainImages.txt').write_text('bar\n'),
        "{root}/TrainImages.txt has the line 'bar': expected <class>/<file>",
    ),
}


@pytest.mark.parametrize('case', WRONG)
def test_a_damaged_list_is_named(case, tmp_path):
    write, spoil, message = WRONG[case]
    write(tmp_path)
    spoil(tmp_path)
    kind = StanfordDogs if 'dogs' in case else MITIndoor67
    with pytest.raises(InputError) as error:
        kind(data_root=str(tmp_path))
    assert str(error.value).startswith(message.format(root=tmp_path)) and '\n' not in str(error.value)


@pytest.mark.parametrize('kind', [StanfordDogs, MITIndoor67])
@pytest.mark.parametrize('split', ['val', 'Train', ''])
def test_another_split_is_refused(kind, split, tmp_path):
    with pytest.raises(InputError, match=rf"^{kind.__name__}: split='{split}': expected one of train, test$"):
        kind(data_root=str(tmp_path), split=split)


@pytest.mark.parametrize(('kind', 'write'), [(StanfordDogs, miniatures.dogs), (MITIndoor67, miniatures.mit67)])
def test_what_is_missing_is_named(kind, write, tmp_path):
    write(tmp_path / 'there')
    (tmp_path / 'there' / 'Images').rename(tmp_path / 'images')
    with pytest.raises(InputError, match=f'^{kind.__name__}: {tmp_path}/there has no Images/: expected the data'):
        kind(data_root=str(tmp_path / 'there'))
    with pytest.raises(InputError, match=f'^{kind.__name__}: folder {tmp_path}/nowhere does not exist: expected'):
        kind(data_root=str(tmp_path / 'nowhere'))
