import shutil

import miniatures
import pytest
import tiny
from miniatures import FINE_GRAINED
from mmengine.config import Config
from mmpretrain.datasets import CIFAR100, StanfordCars
from mmpretrain.registry import DATASETS

from mixskd_mm.cli import describe_input_error
from mixskd_mm.datasets.folders import check_annotation_formats, check_data_folders, check_dataset
from mixskd_mm.errors import InputError


@pytest.fixture
def data(tmp_path):
    (tmp_path / 'images').mkdir()
    (tmp_path / 'images' / '0.png').touch()
    (tmp_path / 'empty').mkdir()
    (tmp_path / 'annotations.json').touch()
    return tmp_path


def loader(**dataset):
    return dict(train_dataloader=dict(dataset=dict(type='D', **dataset)))


@pytest.mark.parametrize(
    'dataset',
    [
        dict(),
        dict(data_prefix='images'),
        dict(data_prefix=dict(img='images', seg_map_path='images/')),
        dict(data_prefix='images', ann_file='annotations.json'),
        dict(data_prefix=dict(img='s3://bucket/images')),
    ],
)
def test_data_that_is_there_passes(dataset, data):
    check_data_folders(loader(data_root=str(data), **dataset), ('train_dataloader', 'val_dataloader'))


@pytest.mark.parametrize(
    'dataset, message',
    [
        (dict(data_prefix='nowhere'), 'nowhere does not exist'),
        (dict(data_prefix='empty'), 'empty is empty'),
        (dict(data_prefix=dict(img='images', seg_map_path='empty')), 'empty is empty'),
        (dict(data_prefix='images', ann_file='no.json'), 'no.json does not exist'),
    ],
)
@pytest.mark.parametrize(
    'wrap',
    [lambda d: d, lambda d: dict(type='RepeatDataset', dataset=d), lambda d: dict(type='ConcatDataset', datasets=[d])],
)
def test_what_is_missing_is_named_with_its_loader(dataset, message, wrap, data):
    cfg = dict(train_dataloader=dict(dataset=wrap(dict(type='D', data_root=str(data), **dataset))))
    with pytest.raises(InputError, match=message) as error:
        check_data_folders(cfg, ('train_dataloader',))
    assert str(error.value).startswith('train_dataloader.dataset (D): ') and '\n' not in str(error.value)
    # Only the loaders that will be used are looked at.
    check_data_folders(cfg, ('test_dataloader',))


# Config below configs/_base_/datasets, split, and what is looked for, as the archives unpack.
LAYOUTS = [
    ('cub', 'train', ['images', 'images.txt', 'image_class_labels.txt', 'train_test_split.txt']),
    ('cub', 'test', ['images', 'images.txt', 'image_class_labels.txt', 'train_test_split.txt']),
    ('stanford_dogs', 'train', ['Images', 'train_list.mat']),
    ('stanford_dogs', 'test', ['Images', 'test_list.mat']),
    ('mit67', 'train', ['Images', 'TrainImages.txt']),
    ('mit67', 'test', ['Images', 'TestImages.txt']),
    ('stanford_cars', 'train', ['cars_train', 'devkit/cars_train_annos.mat']),
    ('stanford_cars', 'test', ['cars_test', 'devkit/cars_test_annos_withlabels.mat']),
    ('fgvc_aircraft', 'train', ['data/images', 'data/images_variant_trainval.txt']),
    ('fgvc_aircraft', 'test', ['data/images', 'data/images_variant_test.txt']),
]


def fine_grained(name, root):
    cfg = Config.fromfile(tiny.ROOT / f'configs/_base_/datasets/{name}.py')
    for loader in ('train_dataloader', 'test_dataloader'):
        cfg[loader].dataset.data_root = str(root)
    return cfg


@pytest.mark.parametrize(('name', 'split', 'entries'), LAYOUTS)
def test_each_missing_part_of_a_fine_grained_set_is_named(name, split, entries, tmp_path):
    root = tmp_path / 'data'
    FINE_GRAINED[name](root)
    cfg, loaders = fine_grained(name, root), (f'{split}_dataloader',)
    check_data_folders(cfg, loaders)
    # The host library takes it too.
    kind = cfg[loaders[0]].dataset.type
    DATASETS.build(dict(cfg[loaders[0]].dataset, _scope_='mmpretrain'))
    for entry in entries:
        (root / entry).rename(tmp_path / 'away')
        with pytest.raises(InputError) as error:
            check_data_folders(cfg, loaders)
        slash = '/' * (tmp_path / 'away').is_dir()
        assert str(error.value) == (
            f'{split}_dataloader.dataset ({kind}): {root} has no {entry}{slash}: expected the data that the config '
            'describes, as docs/datasets.md has it'
        )
        (tmp_path / 'away').rename(root / entry)
    shutil.rmtree(root)
    with pytest.raises(InputError, match=f'folder {root} does not exist'):
        check_data_folders(cfg, loaders)
    root.mkdir()
    with pytest.raises(InputError, match=f'folder {root} is empty'):
        check_data_folders(cfg, loaders)


def test_all_missing_parts_are_named_at_once(tmp_path):
    (tmp_path / 'images').mkdir()
    (tmp_path / 'images.txt').touch()
    dataset = dict(type='mmpretrain.CUB', data_root=str(tmp_path))
    with pytest.raises(InputError, match=f'{tmp_path} has no image_class_labels.txt and no train_test_split.txt: '):
        check_dataset(dataset, 'here')
    for file in ('image_class_labels.txt', 'train_test_split.txt'):
        (tmp_path / file).touch()
    with pytest.raises(InputError, match=f'folder {tmp_path}/images/ is empty'):
        check_dataset(dataset, 'here')


def test_either_layout_of_stanford_cars(tmp_path):
    miniatures.cars_in_one(tmp_path)
    for split in ('train', 'test'):
        check_dataset(dict(type=StanfordCars, data_root=str(tmp_path), split=split), 'here')
    (tmp_path / 'car_ims').rename(tmp_path / 'cars_train')
    with pytest.raises(InputError, match=f'{tmp_path} has no car_ims/: '):
        check_dataset(dict(type=StanfordCars, data_root=str(tmp_path)), 'here')


def test_another_split_is_refused(tmp_path):
    dataset = dict(type='FGVCAircraft', data_root=str(tmp_path), split='all')
    with pytest.raises(InputError, match=r"^here: split='all': expected one of trainval, train, val, test$"):
        check_dataset(dataset, 'here')


def test_imagenet_by_its_split_or_by_its_folders(tmp_path):
    (tmp_path / 'val' / 'n01440764').mkdir(parents=True)
    check_dataset(dict(type='ImageNet', data_root=str(tmp_path), split='val'), 'here')
    check_dataset(dict(type='ImageNet', data_root=str(tmp_path), split='train', data_prefix='val'), 'here')
    with pytest.raises(InputError, match=f'^here: {tmp_path} has no train/: '):
        check_dataset(dict(type='ImageNet', data_root=str(tmp_path), split='train'), 'here')


def test_cifar100_may_be_missing_if_it_will_be_downloaded(tmp_path):
    dataset = dict(type='CIFAR100', data_root=str(tmp_path), split='train')
    check_dataset(dataset, 'here')
    (tmp_path / 'cifar-100-python').mkdir()
    with pytest.raises(InputError, match=f'{tmp_path} has no cifar-100-python/train and no cifar-100-python/test: '):
        check_dataset(dict(dataset, download=False), 'here')


def test_another_split_of_what_would_be_downloaded(tmp_path):
    """The host library's own complaint, as one line."""
    with pytest.raises(AssertionError) as error:
        CIFAR100(data_root=str(tmp_path), split='val')
    assert describe_input_error(error.value) == "The split must be one of ['train', 'test'], but get 'val'"


def test_what_lies_in_a_remote_store_is_not_looked_for():
    check_dataset(dict(type='CUB', data_root='s3://bucket/cub', split='train'), 'here')


def test_train_ends_with_one_line(tmp_path, monkeypatch):
    root = tmp_path / 'data'
    miniatures.cub(root)
    (root / 'images.txt').unlink()
    config = tmp_path / 'birds.py'
    base = tiny.ROOT / 'configs/_base_'
    config.write_text(f"_base_ = ['{base}/models/resnet18_cifar.py', '{base}/datasets/cub.py', '{base}/runtime.py']\n")
    message = tiny.error_of(
        'train.py', config, '--cfg-options', f'train_dataloader.dataset.data_root={root}', monkeypatch=monkeypatch
    )
    assert message.startswith(f'error: train_dataloader.dataset (CUB): {root} has no images.txt: expected ')


@pytest.mark.parametrize('name', ['train.pkl', 'train.PICKLE', 'train.yaml', 'a/b.yml', 'refs.p', 'tree.np'])
@pytest.mark.parametrize(
    'wrap, path',
    [
        (lambda one: one, 'ann_file'),
        (lambda one: dict(type='RepeatDataset', dataset=one), 'dataset.ann_file'),
        (lambda one: dict(type='Odd', parts=[dict(inner=(one,))]), 'parts.0.inner.0.ann_file'),
    ],
)
def test_annotations_that_can_run_code_are_refused_unless_they_are_trusted_by_name(name, wrap, path):
    cfg = dict(val_dataloader=dict(dataset=wrap(dict(type='CustomDataset', ann_file=name))))
    message = (
        f'^val_dataloader.dataset.{path}={name} can run code when it is read: expected JSON or text, or trusted_ann'
    )
    with pytest.raises(InputError, match=message):
        check_annotation_formats(cfg)
    with pytest.raises(InputError, match=message):
        check_annotation_formats(cfg | dict(trusted_annotations=f'other-{name}'))
    check_annotation_formats(cfg | dict(trusted_annotations=[name]))


def test_other_annotations_and_configs_without_data_pass():
    dataset = dict(type='CustomDataset', ann_file='train.json', data_prefix='a.pkl/images', seg_map_suffix='.npy')
    check_annotation_formats(dict(train_dataloader=dict(dataset=dataset), test_dataloader=None))


@pytest.mark.parametrize('tool', ['train.py', 'check_dataset.py'])
def test_a_pickle_is_not_read_by_the_tools(tool, tmp_path, monkeypatch):
    config = tiny.write_config(tmp_path)
    arguments = ['--cfg-options', 'train_dataloader.dataset.ann_file=a.pkl']
    message = tiny.error_of(tool, config, *arguments, monkeypatch=monkeypatch)
    assert message.startswith('error: train_dataloader.dataset.ann_file=a.pkl can run code when it is read')
