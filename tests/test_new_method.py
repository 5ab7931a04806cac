"""A new method is one class and one config: all else works with nothing edited."""

from __future__ import annotations

import json
import os
import shutil

import forked
import pytest
import tiny
import torch
from mmengine.config import Config
from mmengine.hooks import Hook
from mmengine.registry import DefaultScope
from mmpretrain.registry import MODELS

from mixskd_mm.checkpoints.export import export
from mixskd_mm.configs import read_config
from mixskd_mm.engine.backbone_weights import backbone_tensors
from mixskd_mm.errors import InputError

LEAF = """
_base_ = 'baseline_r18_cifar100.py'

custom_imports = dict(imports=['mixskd_mm', 'new_method'])
model = dict(type='NewMethodClassifier')
"""


@pytest.fixture(scope='module')
def repository(tmp_path_factory):
    """A copy of configs and tools with the config of the method."""
    root = tmp_path_factory.mktemp('repository')
    for folder in ('configs', 'tools'):
        shutil.copytree(tiny.ROOT / folder, root / folder, ignore=shutil.ignore_patterns('__pycache__'))
    (root / 'configs/cifar100/new_r18_cifar100.py').write_text(LEAF)
    return root


@pytest.fixture(scope='module')
def config(repository):
    """Function: the method on a tiny baseline."""
    baseline = repository / 'baseline_tiny.py'
    baseline.write_text(tiny.config_text(method='baseline'))

    def read(work_dir, **options):
        cfg = read_config(str(repository / 'configs/cifar100/new_r18_cifar100.py'), str(baseline))
        cfg.merge_from_dict(options)
        cfg.work_dir, cfg.experiment_name = str(work_dir), next(tiny.names)
        return cfg

    return read


@pytest.fixture(scope='module')
def trained(config, tmp_path_factory):
    """Work directory of two epochs."""
    work_dir = tmp_path_factory.mktemp('trained')
    tiny.train(config(work_dir))
    return work_dir


class Interrupt(Hook):
    """In the second epoch."""

    def before_train_iter(self, runner, batch_idx, data_batch=None):
        if (runner.epoch, batch_idx) == (1, 2):
            raise KeyboardInterrupt


def test_a_run_logs_its_terms_and_names_its_recipe(trained):
    checkpoint = tiny.load(trained / 'epoch_2.pth')
    for name in ('loss_cls', 'loss_second', 'loss_kd', 'top1_second'):
        assert len(tiny.history(checkpoint, name)) == 8
    assert checkpoint['meta']['recipe'] == 'new_r18_cifar100-on-baseline_tiny.py'
    # The copy in the work directory reads as any config does.
    copy = Config.fromfile(trained / 'new_r18_cifar100-on-baseline_tiny.py')
    assert (copy.model.type, copy.model.backbone.base_channels) == ('NewMethodClassifier', 8)


def test_a_resumed_run_ends_as_the_whole_one_to_the_bit(config, trained, tmp_path):
    with pytest.raises(KeyboardInterrupt):
        tiny.train(config(tmp_path), Interrupt())
    tiny.train(config(tmp_path, resume=True))
    whole, resumed = (tiny.load(folder / 'epoch_2.pth') for folder in (trained, tmp_path))
    for part in ('state_dict', 'optimizer', 'param_schedulers'):
        tiny.assert_same_state(whole[part], resumed[part])


def test_what_is_not_finite_is_named(config, tmp_path):
    with pytest.raises(InputError, match=r'loss_\w+=(nan|inf).* in iteration'):
        tiny.train(config(tmp_path, **{'optim_wrapper.optimizer.lr': 1e20}))
    assert list(tmp_path.glob('*.pth')) == []


def test_checkpoints_are_those_of_a_plain_classifier_with_more(config, trained, tmp_path):
    checkpoint = trained / 'epoch_2.pth'
    plain = tiny.make_config(tmp_path / 'plain', method='baseline')
    assert tiny.evaluate(plain, checkpoint) == tiny.evaluate(config(tmp_path / 'own'), checkpoint)
    state = tiny.load(checkpoint)
    del state['state_dict']['second.bias']
    torch.save(state, tmp_path / 'damaged.pth')
    # Predicts as before, but cannot go on.
    tiny.evaluate(config(tmp_path / 'test'), tmp_path / 'damaged.pth')
    lacking = r'lacks 1 of the 124 tensors that NewMethodClassifier expects \(first: second.bias\)'
    with pytest.raises(InputError, match=lacking):
        tiny.train(config(tmp_path / 'resume', resume=True, load_from=str(tmp_path / 'damaged.pth')))


def test_exports_and_starts_other_networks_as_a_plain_classifier(trained, tmp_path):
    checkpoint = str(trained / 'epoch_2.pth')
    with DefaultScope.overwrite_default_scope('mmpretrain'):
        plain = MODELS.build(tiny.make_config(tmp_path, method='baseline').model)
    assert export(checkpoint, str(tmp_path / 'exported.pth')) == len(plain.state_dict())
    assert set(tiny.load(tmp_path / 'exported.pth')['state_dict']) == set(plain.state_dict())
    assert set(backbone_tensors(checkpoint, 'backbone.')) == set(plain.backbone.state_dict())


def test_reproduce_trains_it_beside_the_papers_rows(repository, tmp_path):
    env = tiny.environment()
    env['PYTHONPATH'] = os.pathsep.join([str(tiny.ROOT / 'tests'), str(tiny.ROOT / 'tests/tools'), env['PYTHONPATH']])
    options = [
        'model.backbone.base_channels=8',
        'model.backbone.stem_channels=8',
        'model.head.in_channels=64',
        "custom_imports.imports=['mixskd_mm','new_method','digits_as_cifar100']",
        'train_dataloader.num_workers=0',
        'test_dataloader.num_workers=0',
        'default_hooks.checkpoint.interval=1',
    ]
    command = ['table1', '--rows', 'new', '--nets', 'r18', '--seeds', '1', '--budget', '0.01', '--work-dir', 'runs']
    forked.succeed(repository / 'tools/reproduce.py', *command, '--cfg-options', *options, cwd=tmp_path, env=env)
    folder = tmp_path / 'runs/new_r18_cifar100-0.01-epochs-1of1/seed0'
    top1 = json.loads((folder / 'result.json').read_text())['metrics']['accuracy/top1']
    assert 'second.weight' in tiny.load(folder / 'epoch_2.pth')['state_dict']
    assert f'| new | {top1:.2f} | - | - | {top1:.2f} (seed 0) |' in (tmp_path / 'runs/table1.md').read_text()
