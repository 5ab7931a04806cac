"""Wrong input through the tools: one line that names it, a status that says so, and no checkpoint."""

import shutil

import forked
import pytest
import tiny
import torch


@pytest.fixture
def data(tmp_path):
    """A copy of the digits that a test may spoil."""
    return shutil.copytree(tiny.digits(), tmp_path / 'data')


@pytest.fixture
def error_of(tmp_path, monkeypatch):
    """Function: the line with which a tool ends, run on a tiny config; it may leave logs, but no checkpoint."""
    work_dir = tmp_path / 'run'

    def run(*args, tool='train.py', data_root=None, method='mixskd', settings=()):
        config = tiny.write_config(tmp_path, data_root, method)
        options = ('--cfg-options', f'experiment_name={next(tiny.names)}', *settings)
        message = tiny.error_of(tool, config, *args, '--work-dir', work_dir, *options, monkeypatch=monkeypatch)
        assert list(work_dir.rglob('*.pth')) == [] and not (work_dir / 'last_checkpoint').exists()
        return message

    return run


@pytest.fixture(scope='module')
def trained(tmp_path_factory):
    work_dir = tmp_path_factory.mktemp('good')
    tiny.train(tiny.make_config(work_dir, {'train_cfg.max_epochs': 1}))
    return work_dir / 'epoch_1.pth'


# Values of the config. That each is refused when the object is built is tested with the object.
VALUES = {
    'data_preprocessor.alpha=0': 'MixupDataPreprocessor alpha=0: expected a finite number > 0',
    'data_preprocessor.alpha=nan': 'data_preprocessor.alpha=nan: expected a number from -1e+12 to 1e+12',
    'model.temperature=-1': 'MixSKDClassifier temperature=-1: expected a finite number > 0',
    'model.dis_weight=-0.5': 'MixSKDClassifier dis_weight=-0.5: expected a finite number >= 0',
    'model.logit_weight.cls_h=-1': 'MixSKDClassifier logit_weight.cls_h=-1: expected a finite number >= 0',
    'model.teacher_stages=[0,5]': 'MixSKDClassifier teacher_stages=(0, 5): expected different stages from 1 to 4',
    'model.head.in_channels=128': 'MixSKDClassifier head.in_channels=128: expected 64',
    'model.head.num_classes=12': 'MixSKDClassifier head.num_classes=12 but data_preprocessor.num_classes=10: ',
    'model.train_cfg.augments.type=Mixup': "MixSKDClassifier train_cfg.augments={'type': 'Mixup'}: expected none",
    'model.tau=3': 'model.tau=3: no such setting: expected ',
    'model.type=MixSKDClasifier': "model.type='MixSKDClasifier': expected the name of a registered class, such as MixSKD",
    'model.temperature': '--cfg-options model.temperature: expected KEY=VALUE',
}


@pytest.mark.parametrize('setting', VALUES)
def test_a_wrong_value_is_named(error_of, setting):
    assert error_of(settings=[setting]).startswith(f'error: {VALUES[setting]}')


@pytest.mark.skipif(torch.cuda.is_available(), reason='there is a GPU')
def test_amp_without_a_gpu(error_of):
    assert error_of('--amp') == (
        'error: --amp found no GPU: expected one, since mixed precision training on CPUs is not supported'
    )


def test_a_scale_without_a_batch_to_scale_from(error_of):
    message = error_of('--auto-scale-lr', settings=['auto_scale_lr=None'])
    assert message.endswith('tiny.py has no auto_scale_lr.base_batch_size to scale from')


def test_missing_config(tmp_path, monkeypatch):
    for tool, args in (('train.py', ()), ('test.py', ('x.pth',))):
        message = tiny.error_of(tool, tmp_path / 'nosuch.py', *args, monkeypatch=monkeypatch)
        assert message == f'error: config {tmp_path}/nosuch.py does not exist'


@pytest.mark.parametrize('part', ['train', 'test'])
def test_missing_data_folder(error_of, data, part):
    shutil.rmtree(data / part)
    message = error_of(data_root=data)
    assert f'folder {data}/{part} does not exist' in message and 'expected' in message


def test_empty_data_folder(error_of, data):
    shutil.rmtree(data / 'train')
    (data / 'train').mkdir()
    message = error_of(data_root=data)
    assert f'folder {data}/train is empty' in message


def test_class_folders_without_images(error_of, data):
    for image in (data / 'train').rglob('*.png'):
        image.unlink()
    message = error_of(data_root=data)
    assert 'Found 0 files' in message and str(data / 'train') in message


def test_another_number_of_class_folders(error_of, data):
    settings = ['train_dataloader.dataset.metainfo.classes=[a,b,c]']
    message = error_of(data_root=data, settings=settings)
    assert "The number of subfolders (10) doesn't match the number of specified classes (3)" in message


@pytest.mark.parametrize('method', ['mixskd', 'mixup', 'baseline'])
def test_a_label_outside_the_head(error_of, data, method, tmp_path):
    shutil.copytree(data / 'train' / '9', data / 'train' / 'ten')
    message = error_of(data_root=data, method=method)
    assert message == (
        f"error: CustomDataset in '{data}' has labels 0 to 10: expected 0 to 9, since head.num_classes=10"
    )
    # Before training started.
    assert tiny.scalars(tmp_path / 'run') == []


@pytest.mark.parametrize(('num_workers', 'content'), [(0, b'no image'), (0, b''), (2, b'')])
def test_an_unreadable_image_is_named(error_of, data, content, num_workers):
    (data / 'train' / '3' / '0000_bad.png').write_bytes(content)
    message = error_of(data_root=data, settings=[f'train_dataloader.num_workers={num_workers}'])
    assert message == f'error: failed to load image: {data}/train/3/0000_bad.png: expected a readable image'


# How a checkpoint gets into a run: tool, arguments, settings.
WAYS = {
    'test': lambda file: dict(tool='test.py', args=(file,)),
    'resume': lambda file: dict(args=('--resume', file)),
    'load_from': lambda file: dict(settings=[f'load_from={file}']),
}


@pytest.mark.parametrize('way', WAYS)
@pytest.mark.parametrize('kind', ['missing', 'cut', 'foreign', 'text'])
def test_a_checkpoint_that_cannot_be_used_is_named(error_of, trained, tmp_path, way, kind):
    file = tmp_path / f'{kind}.ckpt'
    if kind == 'cut':
        file.write_bytes(trained.read_bytes()[:-5000])
    elif kind == 'text':
        file.write_text('not a checkpoint\n' * 9)
    elif kind == 'foreign':
        checkpoint = tiny.load(trained)
        checkpoint['state_dict'] = {f'encoder.{name}': value for name, value in checkpoint['state_dict'].items()}
        torch.save(checkpoint, file)
    arguments = WAYS[way](file)
    message = error_of(*arguments.pop('args', ()), **arguments)
    expected = dict(
        missing=f'load_from: checkpoint {file} does not exist',
        cut=f'checkpoint {file} is damaged, cut short or no checkpoint',
        text=f'checkpoint {file} is damaged, cut short or no checkpoint',
        foreign=f'checkpoint {file} lacks ',
    )
    assert message.startswith(f'error: {expected[kind]}')


def test_a_checkpoint_of_a_wider_network_is_refused(error_of, trained):
    message = error_of(
        trained, tool='test.py', settings=['model.backbone.base_channels=16', 'model.head.in_channels=128']
    )
    assert 'of another shape (first: backbone.' in message


class TestAsAUserSeesIt:
    """In a terminal: the last line of the error output, the status, and what is on the disk."""

    @staticmethod
    def last_line(result):
        assert result.returncode == 1
        assert 'Traceback' not in result.stderr
        line = result.stderr.splitlines()[-1]
        assert line.startswith('error: ')
        return line

    def test_a_nan_loss_stops_the_run_and_spares_the_good_checkpoint(self, tmp_path):
        config, start, work_dir = tiny.write_config(tmp_path), tmp_path / 'start', tmp_path / 'run'
        tiny.train(tiny.make_config(start, {'train_cfg.max_epochs': 1}))
        good = (start / 'epoch_1.pth').read_bytes()
        settings = ('optim_wrapper.optimizer.lr=1000', 'optim_wrapper.clip_grad=None')
        arguments = (config, '--work-dir', work_dir, '--cfg-options', *settings, f'load_from={start}/epoch_1.pth')
        line = self.last_line(tiny.run_tool('train.py', *arguments, cwd=tmp_path))
        assert line.startswith('error: loss_') and '=nan' in line
        assert ': expected finite losses. The run stops and no checkpoint is written' in line
        assert (start / 'epoch_1.pth').read_bytes() == good
        assert list(work_dir.rglob('*.pth')) == [] and not (work_dir / 'last_checkpoint').exists()

    def test_an_unreadable_image_in_a_worker_process(self, tmp_path, data):
        bad = data / 'train' / '0' / 'bad.png'
        bad.write_bytes(b'\x89PNG\r\n\x1a\n' + bytes(50))
        config = tiny.write_config(tmp_path, data)
        result = forked.run_tool('train.py', config, '--cfg-options', 'train_dataloader.num_workers=2', cwd=tmp_path)
        assert self.last_line(result) == f'error: failed to load image: {bad}: expected a readable image'
        assert list(tmp_path.rglob('*.pth')) == []
