"""configs/_base_/fast.py in front of a recipe."""

import pytest
import tiny
from mmengine.config import Config
from mmengine.registry import HOOKS, OPTIM_WRAPPERS

import mixskd_mm  # noqa: F401  (registers everything)

RECIPES = ('mixskd_r50_imagenet.py', 'baseline_r50_imagenet.py', 'cifar100/mixskd_r18_cifar100.py')
LINES = '\n'.join(f'{key} = _base_.fast.{key}' for key in ('optim_wrapper', 'default_hooks', 'env_cfg'))


def with_fast(recipe, lines=LINES):
    text = f"_base_ = ['{tiny.ROOT}/configs/{recipe}', '{tiny.ROOT}/configs/_base_/fast.py']\n{lines}"
    return Config.fromstring(text, '.py')


@pytest.mark.parametrize('recipe', RECIPES)
def test_the_fast_settings_are_added_to_a_recipe(recipe):
    plain, fast = Config.fromfile(tiny.ROOT / 'configs' / recipe), with_fast(recipe)
    changed = {key for key in fast if key not in plain or fast[key] != plain[key]}
    assert changed == {'compile', 'model_wrapper_cfg', 'optim_wrapper', 'default_hooks', 'env_cfg', 'fast'}
    assert dict(fast.optim_wrapper.optimizer) == dict(plain.optim_wrapper.optimizer, fused=True)
    assert (fast.optim_wrapper.type, fast.optim_wrapper.dtype) == ('AmpOptimWrapper', 'bfloat16')
    assert dict(fast.default_hooks) == dict(plain.default_hooks, channels_last=dict(type='ChannelsLastHook'))
    assert dict(fast.env_cfg) == dict(plain.env_cfg, cudnn_benchmark=True)


def test_the_lines_in_its_comment_are_these():
    comment = (tiny.ROOT / 'configs/_base_/fast.py').read_text()
    assert all(f'#     {line}\n' in comment for line in LINES.splitlines())


def test_what_it_names_exists():
    fast = with_fast(RECIPES[0])
    assert HOOKS.get(fast.default_hooks.channels_last.type) is not None
    assert OPTIM_WRAPPERS.get(fast.optim_wrapper.type) is not None


def test_without_the_lines_a_recipe_is_only_compiled_and_wrapped():
    plain, fast = Config.fromfile(tiny.ROOT / 'configs' / RECIPES[0]), with_fast(RECIPES[0], '')
    assert {key for key in fast if fast[key] != plain.get(key)} == {'compile', 'model_wrapper_cfg', 'fast'}
