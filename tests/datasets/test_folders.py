import pytest

from mixskd_mm.datasets.folders import check_data_folders
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
