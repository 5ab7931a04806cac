"""tools/supermix.py on tiny digits, and a training with what it wrote."""

import json
import subprocess
import sys
from copy import deepcopy

import cv2
import pytest
import tiny
import torch
from mmengine.registry import init_default_scope
from mmpretrain.registry import MODELS


@pytest.fixture(scope='module')
def supervisor(tmp_path_factory):
    """Config and checkpoint of a classifier that has not learned anything."""
    folder = tmp_path_factory.mktemp('supervisor')
    init_default_scope('mmpretrain')
    torch.manual_seed(0)
    model = MODELS.build(tiny.make_config(folder, method='baseline').model)
    model.init_weights()
    torch.save(dict(state_dict=model.state_dict()), folder / 'weights.pth')
    return tiny.write_config(folder, method='baseline'), folder / 'weights.pth'


@pytest.fixture
def run(supervisor, monkeypatch):
    """Function: run the tool in this process."""
    monkeypatch.setenv('LOCAL_RANK', '0')

    def run(*args):
        options = ('--keep-unsuccessful', '--batch-size', 10, '--max-iterations', 3, '--device', 'cpu')
        with tiny.running():
            tiny.run_script('tools/supermix.py', *supervisor, *args, *options, monkeypatch=monkeypatch)

    return run


def listed(out):
    return [json.loads(line) for line in (out / 'supermix.jsonl').read_text().splitlines()]


def test_mixed_images_and_a_training_with_them(run, supervisor, tmp_path, capsys):
    out = tmp_path / 'mixed'
    run(out, '--count', 15)
    assert '15 images in' in capsys.readouterr().out
    images = listed(out)
    assert len(images) == 15 and all(cv2.imread(str(out / image['image'])).shape == (16, 16, 3) for image in images)
    files = sorted((tiny.digits() / 'train').rglob('*.png'))
    for image in images:
        assert [int(files[source].parent.name) for source in image['sources']] == image['labels'] == image['classes']
    settings = json.loads((out / 'settings.json').read_text())
    assert settings['settings']['masks']['max_iterations'] == 3 and settings['settings']['masks']['mask_size'] == 8
    assert settings['source']['checkpoint'] == str(supervisor[1])
    # More of them, and the first ones stay.
    run(out, '--count', 30)
    assert listed(out)[:15] == images and len(listed(out)) == 30

    cfg = tiny.make_config(tmp_path / 'run', method='baseline')
    cfg.model.update(
        type='SuperMixClassifier',
        teacher=deepcopy(cfg.model),
        teacher_checkpoint=str(supervisor[1]),
        mixed_labels='data',
        kd_weight=1.0,
        kd_on='mixed',
    )
    loader = cfg.train_dataloader
    crop = [dict(type='RandomCrop', crop_size=16, padding=1), dict(type='PackInputs')]
    mixed = dict(type='SuperMixDataset', data_root=str(out), labels='soft', pipeline=crop)
    loader.dataset = dict(type='NaturalAndMixedDataset', datasets=[loader.dataset, mixed])
    loader.batch_sampler = dict(type='NaturalMixedBatchSampler')
    runner = tiny.train(cfg)
    # The batch of the recipe is that of natural images.
    assert 'The global batch' not in tiny.log_text(tmp_path / 'run')
    logged = tiny.histories(runner.message_hub)
    assert {'train/loss_cls', 'train/loss_mixed', 'train/loss_kd', 'train/top1_f'} <= logged.keys()
    assert len(logged['train/loss_mixed']) == 8


def test_wrong_input_ends_in_one_line(run, supervisor, tmp_path, monkeypatch):
    def line(*args, config=supervisor[0], checkpoint=supervisor[1], out=tmp_path / 'out'):
        count = () if '--count' in args else ('--count', 10)
        return tiny.error_of('supermix.py', config, checkpoint, out, *count, *args, monkeypatch=monkeypatch)

    assert line('--count', 0) == 'error: --count 0: expected a number >= 1'
    assert line('--sigma', 0.1).startswith('error: SuperMix sigma=0.1: expected 0 or a number >= 0.2')
    assert line('--batch-size', 1).startswith('error: SuperMix batch_size=1: expected an integer >= 2')
    assert line('--batch-size', 50) == 'error: the training set has 40 images: expected at least batch_size=50'
    assert line(checkpoint='gone.pth').startswith('error: checkpoint gone.pth')
    assert line(config='gone.py') == 'error: config gone.py does not exist'
    assert line('--device', 'cuda:9').startswith('error: --device cuda:9 cannot be used')
    assert not (tmp_path / 'out').exists()
    (tmp_path / 'file').touch()
    assert line('--batch-size', 10, out=tmp_path / 'file').startswith(f'error: {tmp_path}/file cannot be made')
    run(tmp_path / 'out', '--count', 2)
    options = ('--keep-unsuccessful', '--batch-size', 10, '--max-iterations', 3)
    assert line(*options, '--seed', 1) == (
        f'error: {tmp_path}/out/settings.json has seed=0, and now seed=1: expected the same, or another folder'
    )


def test_help_needs_no_library():
    # Without site-packages.
    command = [sys.executable, '-I', '-S', str(tiny.ROOT / 'tools/supermix.py'), '--help']
    result = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert result.returncode == 0 and '--keep-unsuccessful' in result.stdout
