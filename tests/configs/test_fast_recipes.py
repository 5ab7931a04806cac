"""configs/fast: the recipes themselves, but for what makes them fast."""

import pytest
import tiny
import torch
from mmengine.config import Config
from mmengine.optim import build_optim_wrapper

from mixskd_mm.cli import describe_input_error

CONFIGS = tiny.ROOT / 'configs'
FAST = {'compile', 'model_wrapper_cfg', 'optim_wrapper', 'default_hooks', 'env_cfg', 'fast'}
ON_DEVICE = {'on_device', 'pack', 'train_dataloader', 'val_dataloader', 'test_dataloader'}


@pytest.mark.parametrize(
    ('name', 'recipe', 'changed'),
    [
        ('mixskd_r50_imagenet_fast.py', 'mixskd_r50_imagenet.py', FAST),
        ('mixskd_r18_cifar100_fast.py', 'cifar100/mixskd_r18_cifar100.py', FAST | ON_DEVICE),
    ],
)
def test_changes_no_fact_of_the_recipe(name, recipe, changed):
    fast, plain = Config.fromfile(CONFIGS / 'fast' / name), Config.fromfile(CONFIGS / recipe)
    assert {key for key in fast if key not in plain or fast[key] != plain[key]} == changed
    assert set(plain) <= set(fast)
    optimizer = dict(fast.optim_wrapper.optimizer)
    assert optimizer.pop('fused') and optimizer == dict(plain.optim_wrapper.optimizer)
    assert fast.train_dataloader.batch_size == plain.train_dataloader.batch_size
    assert set(fast.default_hooks) == {*plain.default_hooks, 'channels_last'}


def test_every_fast_config_is_in_the_table():
    assert {path.name for path in (CONFIGS / 'fast').glob('*.py')} == {
        'mixskd_r50_imagenet_fast.py',
        'mixskd_r18_cifar100_fast.py',
    }


@pytest.mark.skipif(torch.cuda.is_available(), reason='there is a GPU')
def test_without_a_gpu_one_line_says_so():
    cfg = Config.fromfile(CONFIGS / 'fast/mixskd_r50_imagenet_fast.py')
    with pytest.raises(AssertionError) as error:
        build_optim_wrapper(torch.nn.Linear(1, 1), cfg.optim_wrapper)
    assert describe_input_error(error.value).startswith('optim_wrapper.type=AmpOptimWrapper found no GPU')
