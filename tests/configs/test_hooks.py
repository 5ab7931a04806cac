"""The hooks of the configs stay when a config adds its own, and run in the order in which they have to."""

import pytest
import tiny
from mmengine.config import Config
from mmengine.registry import DefaultScope, init_default_scope
from mmengine.runner import Runner

PRETRAINING = {
    'DeferredRuntimeInfoHook',
    'EpochSeedHook',
    'RecipeCheckHook',
    'FiniteCheckpointHook',
    'CheckpointKeysHook',
    'ProvenanceHook',
    'KeepFreedMemoryHook',
    'ResumeCheckHook',
    'RunPictureHook',
}
FINE_TUNING = PRETRAINING - {'KeepFreedMemoryHook'} | {'BackboneWeightsHook'}
QUICKSTART = FINE_TUNING - {'ProvenanceHook'}
HOOKS = {
    'mixskd_r50_imagenet.py': PRETRAINING,
    'cifar100/mixskd_r18_cifar100.py': PRETRAINING,
    'fine_grained/baseline_r18_cub.py': PRETRAINING,
    'quickstart/mixskd_r18_digits.py': PRETRAINING,
    'detection/cascade-rcnn_r50-mixskd-pre_fpn_1x_coco.py': FINE_TUNING,
    'segmentation/deeplabv3_r50-d8-mixskd-pre_8xb2-40k_ade20k-512x512.py': FINE_TUNING,
    'segmentation/deeplabv3-paper_r50-d8-baseline-pre_8xb2-40k_voc12aug-512x512.py': FINE_TUNING,
    'quickstart/cascade-rcnn_r18-mixskd-pre_scenes.py': QUICKSTART,
    'quickstart/deeplabv3_r18-mixskd-pre_scenes.py': QUICKSTART,
}
# Each before the next, wherever a config lists them.
ORDER = [
    'EpochSeedHook',  # seeds before anything draws
    'DeferredRuntimeInfoHook',  # names the loss that is not finite
    'FiniteCheckpointHook',  # refuses the weights that it made so
    'CheckpointKeysHook',  # compares the checkpoint
    'EMAHook',  # exchanges its weights
    'LoggerHook',
    'LateRemovalCheckpointHook',
    'RunPictureHook',  # draws what was logged
]


@pytest.fixture(autouse=True)
def restore_scope():
    """The default scope is global: leave it as it was."""
    instances = dict(DefaultScope._instance_dict)
    yield
    DefaultScope._instance_dict.clear()
    DefaultScope._instance_dict.update(instances)


def registered(default_hooks, custom_hooks):
    """Types of the hooks as mmengine's Runner registers and sorts them."""
    runner = Runner.__new__(Runner)
    runner._hooks = []
    if default_hooks:
        runner.register_default_hooks({name: dict(hook) for name, hook in default_hooks.items()})
    runner.register_custom_hooks([dict(hook) for hook in custom_hooks])
    return [type(hook).__name__ for hook in runner.hooks]


@pytest.mark.parametrize('name', HOOKS)
def test_a_config_that_adds_a_hook_keeps_ours(name):
    lines = f"_base_ = '{tiny.ROOT}/configs/{name}'\ncustom_hooks = [dict(type='EMAHook')]\n"
    cfg = Config.fromstring(lines, '.py')
    init_default_scope(cfg.default_scope)
    # Wants a visualizer.
    del cfg.default_hooks.visualization
    as_configured = registered(cfg.default_hooks, cfg.custom_hooks)
    assert set(as_configured) >= HOOKS[name] | {'EMAHook', 'LateRemovalCheckpointHook', 'LoggerHook'}
    assert len(as_configured) == len(set(as_configured))
    # Whatever is listed first.
    hooks = [*cfg.default_hooks.values(), *cfg.custom_hooks]
    for found in (as_configured, registered({}, hooks), registered({}, hooks[::-1])):
        ordered = [hook for hook in found if hook in ORDER]
        assert ordered == [hook for hook in ORDER if hook in ordered]
