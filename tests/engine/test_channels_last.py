from types import SimpleNamespace

import pytest
import tiny
import torch
from mmengine.hooks import Hook
from mmpretrain.registry import MODELS
from small_classifiers import NETWORKS, config
from torch import nn

from mixskd_mm.engine import ChannelsLastHook
from mixskd_mm.engine.channels_last import use_channels_last

# So small that rounding stays rounding.
SETTINGS = {'optim_wrapper.optimizer.lr': 1e-5, 'train_cfg.max_epochs': 2}
CHANNELS_LAST = {'default_hooks.channels_last.type': 'ChannelsLastHook'}


class Formats(Hook):
    """Notes whether the stages give channels_last maps in training and in validation."""

    def before_train(self, runner):
        self.training, self.validation = [], []
        model = getattr(runner.model, 'module', runner.model)
        for stage in ('layer1', 'layer4'):
            getattr(model.backbone, stage).register_forward_hook(self.note)
        for branch in getattr(model, 'branches', []):
            branch.register_forward_hook(self.note)

    def note(self, module, inputs, output):
        seen = self.training if module.training else self.validation
        seen.append(output.is_contiguous(memory_format=torch.channels_last))


def run(folder, method='mixskd', **options):
    formats = Formats()
    return tiny.train(tiny.make_config(folder, {**SETTINGS, **options}, method=method), formats), formats


@pytest.fixture(scope='module', params=['mixskd', 'baseline'])
def plain(request, tmp_path_factory):
    """Method, and two epochs of it without the hook."""
    return request.param, *run(tmp_path_factory.mktemp('plain'), request.param)


def assert_same_weights(runner, other):
    for (name, p), q in zip(runner.model.named_parameters(), other.model.parameters(), strict=True):
        torch.testing.assert_close(p, q, rtol=0, atol=1e-6, msg=name)


def test_all_maps_are_in_channels_last_and_what_is_learnt_is_the_same(plain, tmp_path):
    method, expected, without = plain
    runner, formats = run(tmp_path, method, **CHANNELS_LAST, **{'train_cfg.val_interval': 2})
    assert set(formats.training) == set(formats.validation) == {True}
    assert set(without.training) == {False}
    # Two epochs of four iterations, and one batch to validate.
    assert len(formats.training) == 8 * (2 + 3 * (method == 'mixskd')) and len(formats.validation) == 2
    assert all(p.is_contiguous() for p in runner.model.parameters())
    assert_same_weights(runner, expected)


def test_a_run_with_it_resumes_one_without(plain, tmp_path):
    method, expected, _ = plain
    run(tmp_path, method)
    runner, _ = run(tmp_path, method, **CHANNELS_LAST, resume=True, load_from=str(tmp_path / 'epoch_1.pth'))
    assert runner.epoch == 2
    assert_same_weights(runner, expected)


def test_a_wrapped_model_has_it_too():
    model = nn.Module()
    model.backbone = nn.Conv2d(3, 4, 3)
    ChannelsLastHook().before_train(SimpleNamespace(model=nn.DataParallel(model)))
    output = model.backbone(torch.rand(2, 3, 8, 8))
    assert output.is_contiguous(memory_format=torch.channels_last)


def test_both_networks_of_two_run_in_it(make_batch):
    model = MODELS.build(config('DCMClassifier', NETWORKS['WRN']))
    use_channels_last(model)
    formats = []
    for network in (model, model.peer):
        network.backbone.layer1.register_forward_hook(
            lambda *args: formats.append(args[2].is_contiguous(memory_format=torch.channels_last))
        )
    model.loss(*make_batch(2))
    assert formats == [True, True]
