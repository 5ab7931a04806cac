import argparse
import urllib.request
from urllib.error import URLError

import cv2
import pytest
import tiny
import torch
from mmcv.transforms import LoadImageFromFile as PlainLoading
from mmpretrain.registry import MODELS, TRANSFORMS
from torch.utils.data import DataLoader

from mixskd_mm.cli import (
    add_run_arguments,
    describe_input_error,
    exit_on_input_error,
    load_config,
)
from mixskd_mm.errors import InputError, last_line


def raising(error):
    def main():
        raise error

    return main


def test_wrong_input_ends_with_one_line_and_status_1():
    with pytest.raises(SystemExit) as ended:
        exit_on_input_error(raising(InputError('alpha=0: expected more')))
    assert ended.value.code == 'error: alpha=0: expected more'


@pytest.mark.parametrize('error', [RuntimeError('bug'), ValueError('bug'), KeyError('bug'), AssertionError('bug')])
def test_what_may_be_a_bug_keeps_its_traceback_in_a_file(error, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert describe_input_error(error) is None
    with pytest.raises(SystemExit) as ended:
        exit_on_input_error(raising(error))
    (file,) = tmp_path.iterdir()
    assert ended.value.code.startswith(f'error: {type(error).__name__}: ')
    assert ended.value.code.endswith(f'; traceback in {file.name}') and len(ended.value.code.splitlines()) == 1
    assert 'Traceback (most recent call last)' in file.read_text() and 'raise error' in file.read_text()


def test_a_main_that_returns_does_not_exit():
    exit_on_input_error(lambda: None)


class FailingImages(torch.utils.data.Dataset):
    def __len__(self):
        return 1

    def __getitem__(self, i):
        raise self.error


def error_from_worker(error):
    images = FailingImages()
    images.error = error
    batches = iter(DataLoader(images, num_workers=1))
    with pytest.raises(type(error)) as raised:
        next(batches)
    # Now, rather than when the traceback is forgotten.
    batches._shutdown_workers()
    assert 'Original Traceback' in str(raised.value)
    return raised.value


@pytest.mark.parametrize('through_worker', [False, True])
@pytest.mark.parametrize(
    ('error', 'line'),
    [
        (InputError('x.png has label 12: expected 0 to 9'), 'x.png has label 12: expected 0 to 9'),
        (
            AssertionError('failed to load image: d/x.png'),
            'failed to load image: d/x.png: expected a readable image',
        ),
    ],
)
def test_errors_of_data_loader_workers_read_like_those_of_the_main_process(error, line, through_worker):
    if through_worker:
        error = error_from_worker(error)
    assert describe_input_error(error) == line


def test_last_line_drops_the_traceback_of_a_worker_only():
    assert last_line(ValueError('one line with Error: inside')) == 'one line with Error: inside'
    worker = (
        'Caught ValueError in DataLoader worker process 0.\nOriginal Traceback (most recent call last):\n  line 1\n'
    )
    assert last_line(ValueError(worker + 'ValueError: Error: nested Error: twice\n')) == 'Error: nested Error: twice'
    assert last_line(ValueError()) == ''


def test_errors_of_the_host_libraries_are_one_line(tmp_path):
    with pytest.raises(FileNotFoundError) as missing:
        (tmp_path / 'nosuch.txt').read_text()
    with pytest.raises(URLError) as unreachable:
        urllib.request.urlopen('http://127.0.0.1:9/cifar-100-python.tar.gz')
    with pytest.raises(KeyError) as unknown:
        MODELS.build(dict(type='NoSuchBackbone'))
    with pytest.raises(TypeError) as misspelt:
        MODELS.build(dict(type='GlobalAveragePooling', dimm=2))
    no_files = RuntimeError('Found 0 files in subfolders of: data/train. Supported extensions are: .png')
    described = [
        describe_input_error(e) for e in (missing.value, unreachable.value, unknown.value, misspelt.value, no_files)
    ]
    assert described[0] == f'{tmp_path}/nosuch.txt does not exist: expected the file or folder that the config names'
    assert described[1].startswith('download failed (') and described[1].endswith(
        'or the data in the data_root of the config'
    )
    assert described[2].startswith('NoSuchBackbone is not in the ')
    assert "unexpected keyword argument 'dimm'" in described[3]
    assert described[4].endswith('expected one folder of images for each class')
    assert all(len(line.splitlines()) == 1 for line in described)


def test_an_empty_image_file_is_named(tmp_path):
    (tmp_path / 'empty.png').touch()
    results = dict(img_path=str(tmp_path / 'empty.png'))
    # What it is for: the plain transform does not say which file it was.
    with pytest.raises(cv2.error) as unnamed:
        PlainLoading()(dict(results))
    assert 'empty.png' not in str(unnamed.value)
    load = TRANSFORMS.build(dict(type='LoadImageFromFile'))
    with pytest.raises(InputError) as error:
        load(dict(results))
    assert str(error.value) == f'failed to load image: {tmp_path}/empty.png: expected a readable image'


def parse(*args):
    parser = argparse.ArgumentParser()
    parser.add_argument('config')
    add_run_arguments(parser)
    return parser.parse_args([str(arg) for arg in args])


@pytest.fixture
def config(tmp_path, monkeypatch):
    monkeypatch.setenv('LOCAL_RANK', '0')
    monkeypatch.chdir(tmp_path)
    return tiny.write_config(tmp_path)


def test_settings_override_the_config_with_their_types(config):
    settings = ('model.temperature=4.5', 'train_cfg.max_epochs=7', 'model.teacher_stages=[1,4]', 'randomness.seed=3')
    cfg = load_config(parse(config, '--cfg-options', *settings))
    assert (cfg.model.temperature, cfg.train_cfg.max_epochs) == (4.5, 7)
    assert cfg.model.teacher_stages == [1, 4]
    # The rest stays.
    assert cfg.model.backbone.base_channels == 8
    assert load_config(parse(config)).train_cfg.max_epochs == 2


def test_a_setting_keeps_an_equals_sign_in_its_value(config):
    assert load_config(parse(config, '--cfg-options', 'experiment_name=a=b')).experiment_name == 'a=b'


def test_the_work_directory_of_the_command_line_comes_first(config, tmp_path):
    assert load_config(parse(config)).work_dir == 'work_dirs/tiny'
    config.write_text(config.read_text() + "work_dir = 'from_config'\n")
    assert load_config(parse(config)).work_dir == 'from_config'
    assert load_config(parse(config, '--work-dir', 'mine')).work_dir == 'mine'


def test_a_config_on_another_baseline_has_a_work_directory_of_its_own(config):
    baseline = tiny.ROOT / 'configs/cifar100/baseline_wrn16-2_cifar100.py'
    cfg = load_config(parse(config, '--on', baseline, '--cfg-options', 'model.temperature=4.5'))
    assert (cfg.model.type, cfg.model.backbone.type, cfg.model.temperature) == (
        'MixSKDClassifier',
        'WideResNet_CIFAR',
        4.5,
    )
    assert cfg.work_dir == 'work_dirs/tiny-on-baseline_wrn16-2_cifar100'
    assert load_config(parse(config, '--on', baseline, '--work-dir', 'mine')).work_dir == 'mine'


@pytest.mark.parametrize(
    ('name', 'text', 'told'),
    [
        ('nosuch.py', None, 'config nosuch.py does not exist'),
        ('notes.md', '# Notes\n', 'config notes.md is no config ('),
        ('cut.py', 'model = dict(\n', 'config cut.py is no config ('),
        ('empty.py', '', 'config empty.py has no model: expected the config of a training'),
    ],
)
def test_what_is_no_config_is_named(config, tmp_path, name, text, told):
    if text is not None:
        (tmp_path / name).write_text(text)
    with pytest.raises(InputError) as error:
        load_config(parse(name))
    assert str(error.value).startswith(told) and len(str(error.value).splitlines()) == 1


@pytest.mark.parametrize(
    ('setting', 'told'),
    [
        ('temperature', '--cfg-options temperature: expected KEY=VALUE'),
        ('train_dataloader.dataset.pipeline.9.prob=1', 'Index 9 exceeds the length of list'),
    ],
)
def test_a_setting_that_cannot_be_made_is_named(config, setting, told):
    with pytest.raises(InputError) as error:
        load_config(parse(config, '--cfg-options', setting))
    assert told in str(error.value) and len(str(error.value).splitlines()) == 1


@pytest.mark.skipif(torch.cuda.is_available(), reason='GPUs take another way')
@pytest.mark.parametrize('launcher', ['slurm', 'mpi'])
def test_launchers_without_gpus_are_refused(config, launcher):
    with pytest.raises(InputError, match=f'--launcher {launcher} found no GPU: expected GPUs, or --launcher pytorch'):
        load_config(parse(config, '--launcher', launcher))


@pytest.mark.skipif(torch.cuda.is_available(), reason='GPUs take another way')
def test_the_launcher_pytorch_without_torchrun_is_refused(config, monkeypatch):
    monkeypatch.delenv('RANK', raising=False)
    with pytest.raises(InputError, match='--launcher pytorch found no RANK: expected to be started by torchrun'):
        load_config(parse(config, '--launcher', 'pytorch'))


def test_after_ctrl_c_one_line_and_the_status_of_shells(capsys):
    with pytest.raises(SystemExit) as ended:
        exit_on_input_error(raising(KeyboardInterrupt()))
    assert ended.value.code == 130
    assert capsys.readouterr().err == 'error: interrupted; --resume continues a training from its last checkpoint\n'


@pytest.mark.parametrize(
    ('error', 'line'),
    [
        (
            RuntimeError('[/a/gloo/transport/tcp/pair.cc:538] Read error [127.0.0.1]:6: Connection reset by peer'),
            'rank 3: another process ended or was stuck (Read error [127.0.0.1]:6: Connection reset by peer): expected all '
            'in step within env_cfg.dist_cfg.timeout',
        ),
        (
            torch.distributed.DistBackendError('NCCL communicator was aborted on rank 3.'),
            'rank 3: another process ended or was stuck (NCCL communicator was aborted on rank 3.): expected all in step '
            'within env_cfg.dist_cfg.timeout',
        ),
        (
            RuntimeError('DataLoader timed out after 12.0 seconds'),
            'rank 3: DataLoader timed out after 12.0 seconds: expected a batch within env_cfg.dist_cfg.timeout, or the '
            'timeout of the dataloader',
        ),
        (
            RuntimeError('DataLoader worker (pid(s) 7) exited unexpectedly'),
            'rank 3: DataLoader worker (pid(s) 7) exited unexpectedly: expected it to live; the system ends processes when '
            'memory is short, which fewer num_workers need less of',
        ),
    ],
)
def test_what_another_process_caused_is_said_by_the_rank_with_a_status_of_its_own(error, line, monkeypatch, capsys):
    monkeypatch.setenv('RANK', '3')
    with pytest.raises(SystemExit) as ended:
        exit_on_input_error(raising(error))
    assert ended.value.code == 129
    assert capsys.readouterr().err == f'error: {line}\n'


def test_ctrl_c_is_said_once_by_all_ranks(monkeypatch, capsys):
    monkeypatch.setenv('RANK', '1')
    with pytest.raises(SystemExit) as ended:
        exit_on_input_error(raising(KeyboardInterrupt()))
    assert ended.value.code == 130
    assert capsys.readouterr().err == ''
