"""Configs: a method's lines on another baseline, and distributed runs on CPUs."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import pytest
import tiny
import torch
from mmengine.config import Config

from mixskd_mm.configs import Typed, distribute_on_cpu, merge_options, read_config
from mixskd_mm.errors import InputError

CONFIGS = tiny.ROOT / 'configs'
CIFAR = CONFIGS / 'cifar100'
WRN = CIFAR / 'baseline_wrn16-2_cifar100.py'


class TestOnAnotherBaseline:
    def test_the_lines_of_the_method_go_onto_the_other_network(self):
        cfg = read_config(str(CIFAR / 'mixskd_r18_cifar100.py'), str(WRN))
        expected = Config.fromfile(WRN).to_dict()
        expected['model']['type'] = 'MixSKDClassifier'
        expected['data_preprocessor'].update(type='MixupDataPreprocessor', alpha=0.4)
        assert cfg.to_dict() == expected

    def test_and_onto_other_data(self):
        baseline = CONFIGS / 'fine_grained/baseline_r18_cars.py'
        cfg = read_config(str(CIFAR / 'cutout_r18_cifar100.py'), str(baseline))
        plain = Config.fromfile(baseline)
        # What they take from _base_ is the other baseline's: pipeline and mean colour.
        *transforms, cutout, pack = cfg.train_dataloader.dataset.pipeline
        types = [step.type for step in plain.train_dataloader.dataset.pipeline]
        assert [step.type for step in (*transforms, pack)] == types
        assert (cutout.type, cutout.pad_val) == ('Cutout', [round(mean) for mean in plain.data_preprocessor.mean])
        assert (
            plain.data_preprocessor.mean != Config.fromfile(CIFAR / 'baseline_r18_cifar100.py').data_preprocessor.mean
        )
        assert cfg.model == plain.model and cfg.val_dataloader == plain.val_dataloader

    def test_through_files_between_and_beside(self):
        """configs/fast has files of two folders, and two files of one name, in its bases."""
        cfg = read_config(str(CONFIGS / 'fast/mixskd_r18_cifar100_fast.py'), str(WRN))
        fast, plain = Config.fromfile(CONFIGS / 'fast/mixskd_r18_cifar100_fast.py'), Config.fromfile(WRN)
        assert cfg.model == dict(plain.model, type='MixSKDClassifier')
        assert {key: value for key, value in cfg.items() if key not in ('model', 'network')} == {
            key: value for key, value in fast.items() if key != 'model'
        }

    def test_python_of_the_method_runs(self, tmp_path):
        method = tmp_path / 'mine.py'
        method.write_text(
            f"""
_base_ = [
    '{CIFAR}/baseline_r18_cifar100.py',  # of which a copy is not needed
]
_width = 2
model = dict(type='Mine', twice=[_width * _base_.model.head.in_channels], note='_base_ = 1')
"""
        )
        cfg = read_config(str(method), str(WRN))
        assert (cfg.model.twice, cfg.model.note) == ([2 * 128], '_base_ = 1')
        assert cfg.model.backbone.type == 'WideResNet_CIFAR'

    def test_relative_paths_are_meant_from_the_current_folder(self, monkeypatch):
        monkeypatch.chdir(CIFAR)
        cfg = read_config('mixup_r18_cifar100.py', '../cifar100/baseline_wrn16-2_cifar100.py')
        assert cfg.model.backbone.type == 'WideResNet_CIFAR'
        assert cfg.filename == 'mixup_r18_cifar100-on-baseline_wrn16-2_cifar100.py'

    def test_nothing_is_left_behind(self, tmp_path, monkeypatch):
        monkeypatch.setattr('tempfile.tempdir', str(tmp_path))
        cfg = read_config(str(CIFAR / 'mixskd_r18_cifar100.py'), str(WRN))
        assert list(tmp_path.iterdir()) == []
        # Names the work directory, the recipe in checkpoints and the copy beside them.
        assert Path(cfg.filename).stem == 'mixskd_r18_cifar100-on-baseline_wrn16-2_cifar100'

    @pytest.mark.parametrize(
        ('config', 'baseline', 'told'),
        [
            (
                'cifar100/mixskd_r18_cifar100.py',
                'nosuch.py',
                'nosuch.py does not exist: expected the config of a baseline',
            ),
            ('cifar100/mixskd_r18_cifar100.py', 'notes.md', 'notes.md is no config ('),
            (
                'cifar100/mixskd_r18_cifar100.py',
                'mixskd_r50_imagenet.py',
                'mixskd_r50_imagenet.py has model.type=MixSKDClassifier: expected a baseline, with a plain ImageClassifier',
            ),
            (
                'cifar100/mixskd_r18_cifar100.py',
                '_base_/runtime.py',
                'runtime.py has model.type=None: expected a baseline',
            ),
            ('cifar100/baseline_r18_cifar100.py', 'baseline_r50_imagenet.py', 'is not based on a baseline_*.py: '),
            ('_base_/runtime.py', 'baseline_r50_imagenet.py', 'runtime.py is not based on a baseline_*.py: '),
            ('notes.md', 'baseline_r50_imagenet.py', 'notes.md is no config ('),
            (
                'cifar100/cutout_r18_cifar100.py',
                'bare.py',
                "bare.py: 'ConfigDict' object has no attribute 'train_pipeline'",
            ),
        ],
    )
    def test_what_does_not_fit_is_named_in_one_line(self, tmp_path, config, baseline, told):
        (tmp_path / 'notes.md').write_text("It's notes\n")
        (tmp_path / 'bare.py').write_text("model = dict(type='ImageClassifier')\n")
        # Those that the repository does not have.
        config, baseline = (str(CONFIGS / f if (CONFIGS / f).is_file() else tmp_path / f) for f in (config, baseline))
        with pytest.raises(InputError) as error:
            read_config(config, baseline)
        assert told in str(error.value) and len(str(error.value).splitlines()) == 1


@pytest.fixture
def process_group(monkeypatch):
    """As if torchrun had started this process and the group were there."""
    monkeypatch.setenv('RANK', '0')
    monkeypatch.setattr(torch.distributed, 'is_initialized', lambda: True)


def test_on_cpus_a_model_is_wrapped_as_on_gpus_but_for_the_devices(process_group):
    usual = dict(type='MMDistributedDataParallel', broadcast_buffers=False, device_ids=None)
    for settings, wrapper in [
        (dict(), dict(usual, find_unused_parameters=False)),
        (dict(find_unused_parameters=True), dict(usual, find_unused_parameters=True)),
        (
            dict(model_wrapper_cfg=dict(type='Mine', static_graph=True)),
            dict(type='Mine', static_graph=True, device_ids=None),
        ),
    ]:
        cfg = Config(dict(settings, launcher='pytorch', model=dict(type='MixSKDClassifier')))
        distribute_on_cpu(cfg)
        assert cfg.model_wrapper_cfg == wrapper


def test_on_cpus_norms_are_not_synchronised(process_group):
    norm = dict(type='SyncBN', requires_grad=True)
    heads = [dict(norm_cfg=dict(norm)), dict(type='SyncBNHead'), dict(norm_cfg=dict(type='GN'))]
    cfg = Config(dict(launcher='pytorch', sync_bn='torch', model=dict(norm_cfg=norm, backbone=dict(heads=heads))))
    distribute_on_cpu(cfg)
    assert 'sync_bn' not in cfg
    assert cfg.model.norm_cfg == dict(type='BN', requires_grad=True)
    plain = dict(norm_cfg=dict(type='BN', requires_grad=True))
    assert cfg.model.backbone.heads == [plain, dict(type='SyncBNHead'), dict(norm_cfg=dict(type='GN'))]


@pytest.mark.parametrize(
    ('text', 'before', 'value'),
    [
        ('4', 3, 4),
        ('4.5', None, 4.5),
        ('1e-3', 1.0, 0.001),
        ('True', False, True),
        ('None', 'text', None),
        ('[1,2]', None, [1, 2]),
        ('(1, 2)', None, (1, 2)),
        ('(1,)', None, (1,)),
        ('[]', None, []),
        ('[(1,2),[a,b],c]', None, [(1, 2), ['a', 'b'], 'c']),
        ('a,b', None, ['a', 'b']),
        ('1,2', (3, 4), [1, 2]),
        # As they were typed.
        ('/a,b/c', '/old', '/a,b/c'),
        ('/a,b/c', None, '/a,b/c'),
        ('a,b', 'old', 'a,b'),
        ('/sp ace', '/old', '/sp ace'),
        ('[/sp ace/x,y]', None, ['/sp ace/x', 'y']),
        ("'/sp ace'", None, '/sp ace'),
        ('2024', 'old', '2024'),
    ],
)
def test_a_value_from_the_command_line_arrives_as_it_was_typed(text, before, value):
    cfg = Config(dict(model=dict(setting=before)))
    merge_options(cfg, {'model.setting': Typed(text)})
    assert cfg.model.setting == value and type(cfg.model.setting) is type(value)


def test_an_option_that_is_no_text_of_the_command_line_keeps_its_type():
    cfg = Config(dict(model=dict(setting='x')))
    merge_options(cfg, {'model.setting': '1,2'})
    assert cfg.model.setting == '1,2'


def test_hooks_of_a_recipe_are_not_lost_by_an_option():
    cfg = Config(dict(custom_hooks=[dict(type='EMAHook')]))
    with pytest.raises(InputError, match=r'^custom_hooks=\[\]: expected the hooks of the recipe: EMAHook$'):
        merge_options(cfg, {'custom_hooks': Typed('[]')})


def test_gloo_waits_as_long_as_the_config_says(monkeypatch):
    given = []
    monkeypatch.setenv('RANK', '0')
    monkeypatch.setattr(torch.distributed, 'init_process_group', lambda *args, **kwargs: given.append((args, kwargs)))
    for dist_cfg, seconds in ((dict(timeout=90), timedelta(seconds=90)), (dict(backend='nccl'), None)):
        distribute_on_cpu(Config(dict(launcher='pytorch', env_cfg=dict(dist_cfg=dist_cfg))))
        assert given.pop() == (('gloo',), dict(timeout=seconds))
