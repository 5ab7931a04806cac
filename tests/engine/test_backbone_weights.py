"""A fine-tuned network takes all of the pretrained backbone, or the run stops and says why."""

import logging

import pytest
import torch
from mmengine.config import Config
from mmengine.model import BaseModel
from mmengine.runner import EpochBasedTrainLoop
from mmpretrain.registry import MODELS

from mixskd_mm.engine import BackboneWeightsHook
from mixskd_mm.engine.backbone_weights import backbone_tensors
from mixskd_mm.errors import InputError

TINY = dict(type='ResNet_CIFAR', depth=18, stem_channels=8, base_channels=8)


class Detector(BaseModel):
    def __init__(self, **backbone):
        super().__init__()
        self.backbone = MODELS.build({**TINY, **backbone})

    def forward(self, inputs):
        return self.backbone(inputs)


class Runner:
    """What the hook uses of mmengine's Runner, which has a loop object in the place of its config once it is to train."""

    def __init__(self, checkpoint, resume=False, backbone=None, prefix='backbone.', trains=True, load_from=None):
        init_cfg = dict(type='Pretrained', checkpoint=str(checkpoint), prefix=prefix)
        self.model = Detector(init_cfg=init_cfg, **(backbone or {}))
        self.cfg = Config(dict(model=dict(backbone=dict(init_cfg=init_cfg))))
        self.logger = logging.getLogger('test')
        self._resume, self._load_from = resume, load_from
        self._train_loop = object.__new__(EpochBasedTrainLoop) if trains else dict(by_epoch=True)


@pytest.fixture
def checkpoint(build_mixskd, tmp_path):
    torch.save({'state_dict': build_mixskd().state_dict()}, tmp_path / 'epoch_1.pth')
    return tmp_path / 'epoch_1.pth'


def start(runner, strict=True, initialise=True):
    hook = BackboneWeightsHook(strict)
    hook.before_run(runner)
    if initialise:
        runner.model.init_weights()
    hook.before_train(runner)


def test_all_tensors_are_taken_and_counted(checkpoint, caplog):
    runner = Runner(checkpoint)
    with caplog.at_level(logging.INFO):
        start(runner)
    state = torch.load(checkpoint, weights_only=True)['state_dict']
    for name, value in runner.model.backbone.state_dict().items():
        assert torch.equal(value, state[f'backbone.{name}'])
    assert f'The backbone took 120 of its 120 tensors from checkpoint {checkpoint}' in caplog.text


def test_a_backbone_that_was_not_initialised_from_the_checkpoint_stops_the_run(checkpoint):
    with pytest.raises(InputError, match='tensors of the backbone did not get its values'):
        start(Runner(checkpoint), initialise=False)


@pytest.mark.parametrize(
    'backbone, message',
    [
        (dict(depth=34), 'lacks .* of the .* tensors that backbone ResNet_CIFAR expects'),
        (dict(base_channels=16), 'of another shape'),
    ],
)
def test_another_depth_or_width_is_refused_before_it_is_loaded(backbone, message, checkpoint):
    with pytest.raises(InputError, match=message) as error:
        BackboneWeightsHook().before_run(Runner(checkpoint, backbone=backbone))
    assert '\n' not in str(error.value) and 'init_cfg' in str(error.value)


def test_not_strict_only_counts(checkpoint, caplog):
    with caplog.at_level(logging.INFO):
        start(Runner(checkpoint), strict=False, initialise=False)
    assert 'tensors from checkpoint' in caplog.text


def test_another_prefix_is_named(checkpoint):
    with pytest.raises(InputError, match=r'no tensors named encoder\.\*, but backbone\.conv1\.weight'):
        backbone_tensors(str(checkpoint), 'encoder')


@pytest.mark.parametrize('head', ['roi_head.fc.weight', 'decode_head.conv_seg.weight'])
def test_a_detectors_or_segmenters_checkpoint_is_refused(head, checkpoint):
    state = torch.load(checkpoint, weights_only=True)['state_dict']
    torch.save({'state_dict': {**state, head: torch.zeros(1)}}, checkpoint)
    with pytest.raises(InputError, match=f'holds {head.split(".")[0]}: expected that of a classifier'):
        backbone_tensors(str(checkpoint), 'backbone.')


@pytest.mark.parametrize('run', [dict(resume=True), dict(trains=False), dict(load_from='detector.pth')])
def test_runs_that_do_not_use_the_file_do_not_need_it(run, tmp_path):
    start(Runner(tmp_path / 'gone.pth', **run), initialise=False)


def test_a_start_from_random_weights_says_so(checkpoint, caplog):
    runner = Runner(checkpoint)
    runner.cfg.model.backbone.init_cfg = None
    with caplog.at_level(logging.INFO):
        start(runner)
    assert 'takes no tensors from a checkpoint' in caplog.text
