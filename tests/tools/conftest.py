"""Trainings with the tools, shared by the tests of this folder. Starting a tool takes seconds, so each run serves many."""

import re
import sys

import cv2
import forked
import pytest
import tiny
from runs import Run, kill_when_paused, probed
from sklearn.datasets import load_sample_images

SETTINGS = (
    'train_cfg.max_epochs=4',
    'default_hooks.probe.type=probe.Probe',
    # Draws that the images show, in worker processes.
    'train_dataloader.num_workers=2',
)


@pytest.fixture(scope='session')
def training(tmp_path_factory):
    """(folder, config file) of the single-process runs."""
    folder = tmp_path_factory.mktemp('training')
    return folder, tiny.write_config(folder)


@pytest.fixture(scope='session')
def whole(training):
    """Four epochs, never interrupted, started in another folder than the config's."""
    folder, config = training
    elsewhere = folder / 'elsewhere'
    elsewhere.mkdir()
    options = ('--work-dir', folder / 'whole', '--cfg-options', *SETTINGS, 'train_cfg.val_interval=4')
    output = tiny.succeed('train.py', config, *options, cwd=elsewhere, env=probed(folder / 'probe_whole'))
    return Run(folder / 'whole', folder / 'probe_whole', 4, output)


@pytest.fixture(scope='session')
def resumed(training):
    """The same, killed with SIGKILL in the third epoch and continued with ``--resume``."""
    folder, config = training
    command = (sys.executable, tiny.ROOT / 'tools/train.py', config, '--work-dir', folder / 'resumed')
    options = ('--cfg-options', *SETTINGS)
    kill_when_paused([*command, *options], folder, probed(folder / 'probe_killed', PAUSE='2,2'))
    assert sorted(path.name for path in (folder / 'resumed').glob('*.pth')) == ['epoch_1.pth', 'epoch_2.pth']
    arguments = ('--work-dir', folder / 'resumed', '--resume', *options, 'train_cfg.val_interval=4')
    output = forked.succeed('train.py', config, *arguments, cwd=folder, env=probed(folder / 'probe_resumed'))
    return Run(folder / 'resumed', folder / 'probe_resumed', 4, output)


@pytest.fixture(scope='session')
def tiny_imagenet(tmp_path_factory):
    """Crops of two photographs in ImageNet's layout: 16 training and 8 validation images of classes 0 and 999."""
    root = tmp_path_factory.mktemp('imagenet')
    (root / 'meta').mkdir()
    photographs = load_sample_images().images
    for split, count in (('train', 8), ('val', 4)):
        lines = []
        for label, photograph in zip((0, 999), photographs, strict=True):
            folder = root / split / f'n{label:08d}'
            folder.mkdir(parents=True)
            for i in range(count):
                crop = photograph[40 * i : 40 * i + 80, 60 * i : 60 * i + 100, ::-1]
                cv2.imwrite(str(folder / f'{split}_{i}.JPEG'), crop)
                lines.append(f'{folder.name}/{split}_{i}.JPEG {label}')
        (root / 'meta' / f'{split}.txt').write_text('\n'.join(lines) + '\n')
    return root


@pytest.fixture(scope='session')
def distributed(tmp_path_factory, tiny_imagenet):
    """(folder, arguments) of runs of the ImageNet recipe with a small network, small images and two processes."""
    settings = [f'{loader}_dataloader.dataset.data_root={tiny_imagenet}' for loader in ('train', 'val', 'test')]
    settings += [
        f'{loader}_dataloader.{key}' for loader in ('train', 'val', 'test') for key in ('batch_size=2', 'num_workers=1')
    ]
    settings += [
        'model.backbone.depth=18',
        'model.backbone.stem_channels=8',
        'model.backbone.base_channels=8',
        'model.head.in_channels=64',
        # Of the recipe's 0.1, two images in each process make infinite losses on some processors.
        'optim_wrapper.optimizer.lr=0.01',
        'train_dataloader.dataset.pipeline.1.scale=32',
        'train_dataloader.dataset.pipeline.2.type=probe.NotingFlip',
        'train_dataloader.dataset.pipeline.3.meta_keys=[draws]',
        'train_cfg.max_epochs=3',
        'train_cfg.val_interval=3',
        'default_hooks.probe.type=probe.Probe',
    ]
    return tmp_path_factory.mktemp('distributed'), ['--scale-schedule', '--cfg-options', *settings]


RECIPE = tiny.ROOT / 'configs/mixskd_r50_imagenet.py'


@pytest.fixture(scope='session')
def two_processes(distributed):
    """Three epochs on two processes, never interrupted."""
    folder, options = distributed
    env = probed(folder / 'probe_whole', PORT=tiny.free_port())
    output = tiny.succeed('dist_train.sh', RECIPE, 2, '--work-dir', folder / 'whole', *options, cwd=folder, env=env)
    return Run(folder / 'whole', folder / 'probe_whole', 3, output)


@pytest.fixture(scope='session')
def two_processes_resumed(distributed):
    """The same, its launcher told to end (SIGTERM) in the second epoch, and continued with ``--resume``."""
    folder, options = distributed
    arguments = (RECIPE, 2, '--work-dir', folder / 'resumed', *options)
    env = probed(folder / 'probe_killed', PORT=tiny.free_port(), TERMINATE='1,1')
    output = tiny.run_tool('dist_train.sh', *arguments, cwd=folder, env=env)
    assert output.returncode == 143, output.stderr[-3000:]
    # The other process may have been told an iteration earlier.
    told = rf'SIGTERM: the training ends after iteration [67]; {folder}/resumed/interrupted\.pth is saved'
    assert len(re.findall(told, output.stderr)) == output.stderr.count('SIGTERM') == 1
    assert sorted(path.name for path in (folder / 'resumed').glob('*.pth')) == ['epoch_1.pth', 'interrupted.pth']
    env = probed(folder / 'probe_resumed', PORT=tiny.free_port())
    output = tiny.succeed('dist_train.sh', *arguments[:4], '--resume', *options, cwd=folder, env=env)
    return Run(folder / 'resumed', folder / 'probe_resumed', 3, output)
