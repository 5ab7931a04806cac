"""From a folder of images to an exported backbone, with the commands that docs/own_data.md shows."""

import sys

import pytest
import tiny
import torch

SMALL = [
    'model.backbone.depth=18',
    'model.backbone.stem_channels=8',
    'model.backbone.base_channels=8',
    'model.head.in_channels=64',
    'train_dataloader.dataset.pipeline.1.scale=32',
    'val_dataloader.dataset.pipeline.2.crop_size=32',
    'test_dataloader.dataset.pipeline.2.crop_size=32',
    'train_dataloader.num_workers=0',
    'val_dataloader.num_workers=0',
    'test_dataloader.num_workers=0',
    'train_dataloader.batch_size=8',
    'optim_wrapper.optimizer.lr=0.01',
    'train_cfg.max_epochs=2',
]


def call(monkeypatch, tool, *args):
    module = tiny.load_tool(tool)
    monkeypatch.setattr(sys, 'argv', [tool, *map(str, args)])
    monkeypatch.setenv('LOCAL_RANK', '0')
    with tiny.running():
        module.main()


def train(monkeypatch, work_dir, root, *options, method='mixskd', resume=()):
    config = tiny.ROOT / 'configs' / f'{method}_r50_folder.py'
    # Two runs within a second would have one name, by which the Runner finds its log.
    options = [f'data_root={root}', f'experiment_name={next(tiny.names)}', *SMALL, *options]
    call(monkeypatch, 'train.py', config, '--work-dir', work_dir, *resume, '--cfg-options', *options)
    return work_dir / 'epoch_2.pth'


@pytest.fixture
def photographs(tmp_path):
    # 10 x (1 + 1) images: 10 to train on, of which the last batch of 8 has 2.
    tiny.write_digits(tmp_path / 'data', 2, 1)
    tiny.write_digits(tmp_path / 'other', 3, 1, classes=4)
    return tmp_path / 'data', tmp_path / 'other' / 'train'


def test_from_a_folder_to_a_backbone_and_to_other_classes(tmp_path, photographs, monkeypatch, capfd):
    data, other = photographs
    (data / 'test').rename(data / 'val')
    trained = train(monkeypatch, tmp_path / 'first', data)
    checkpoint = tiny.load(trained)
    assert list(checkpoint['meta']['dataset_meta']['classes']) == list('0123456789')
    plain = tmp_path / 'plain.pth'
    call(monkeypatch, 'checkpoints/export_backbone.py', trained, plain, '--format', 'mm')
    exported = torch.load(plain, weights_only=True)
    assert list(exported['meta']['dataset_meta']['classes']) == list('0123456789')
    # Four classes, split, from weights of ten.
    capfd.readouterr()
    start = 'optim_wrapper.optimizer.lr=1e-9'
    finer = tiny.load(train(monkeypatch, tmp_path / 'second', other, start, f'load_from={trained}', method='baseline'))
    assert 'the head starts anew' in capfd.readouterr().out
    assert finer['state_dict']['head.fc.weight'].shape == (4, 64)
    for name in ('backbone.conv1.weight', 'backbone.layer4.1.conv2.weight'):
        torch.testing.assert_close(finer['state_dict'][name], checkpoint['state_dict'][name], rtol=0, atol=1e-6)
    # As many classes, with other names.
    (data / 'train' / '9').rename(data / 'train' / 'nine'), (data / 'val' / '9').rename(data / 'val' / 'nine')
    renamed = tiny.load(train(monkeypatch, tmp_path / 'third', data, start, f'load_from={trained}'))
    assert 'the head starts anew' in capfd.readouterr().out
    assert not torch.equal(renamed['state_dict']['head.fc.weight'], checkpoint['state_dict']['head.fc.weight'])


def test_resumes_to_the_bit(tmp_path, photographs, monkeypatch):
    _, data = photographs
    whole = tiny.load(train(monkeypatch, tmp_path / 'run', data, 'default_hooks.checkpoint.interval=1'))
    (tmp_path / 'run' / 'epoch_2.pth').unlink()
    (tmp_path / 'run' / 'last_checkpoint').write_text('epoch_1.pth')
    resumed = train(monkeypatch, tmp_path / 'run', data, 'default_hooks.checkpoint.interval=1', resume=['--resume'])
    tiny.assert_same_state(whole['state_dict'], tiny.load(resumed)['state_dict'])


@pytest.mark.parametrize('batch', [11, 12])
def test_a_last_batch_of_one_image_is_left_out(tmp_path, photographs, monkeypatch, batch):
    """12 images: 11 and 1, or 12."""
    _, data = photographs
    work_dir = tmp_path / 'run'
    train(monkeypatch, work_dir, data, f'train_dataloader.batch_size={batch}', 'own_data.val_fraction=0.01')
    assert [row['step'] for row in tiny.scalars(work_dir) if 'loss' in row][-1:] == [2]


def test_another_head_is_refused_with_the_way_out(tmp_path, photographs, monkeypatch):
    data, other = photographs
    (data / 'test').rename(data / 'val')
    trained = train(monkeypatch, tmp_path / 'first', data)
    options = ['default_hooks.checkpoint_keys.new_head=False', f'load_from={trained}', f'data_root={other}']
    config = tiny.ROOT / 'configs' / 'baseline_r50_folder.py'
    arguments = [config, '--work-dir', tmp_path / 'second', '--cfg-options', *SMALL, *options]
    message = tiny.error_of('train.py', *arguments, monkeypatch=monkeypatch)
    assert 'head.fc.weight' in message and 'default_hooks.checkpoint_keys.new_head=True' in message
