"""A checkpoint of two networks (DCM): either one is tested, exported and used downstream."""

import pytest
import tiny
import torch
from mmengine.config import Config
from mmpretrain.registry import MODELS
from safetensors.torch import load_file

from mixskd_mm.checkpoints.export import export
from mixskd_mm.engine.backbone_weights import backbone_tensors
from mixskd_mm.errors import InputError
from mixskd_mm.evaluation import load_classifier

# Network 0 is the quickstart's with 8 channels.
PEER = dict(backbone=dict(type='WideResNet_CIFAR', depth=10, widen_factor=1), head=dict(in_channels=64))
PLAIN_PEER = dict(
    type='ImageClassifier',
    backbone=PEER['backbone'],
    neck=dict(type='GlobalAveragePooling'),
    head=dict(type='LinearClsHead', num_classes=10, in_channels=64),
)


def config(work_dir, **options):
    pair = {
        'model.type': 'DCMClassifier',
        'model.peer': PEER,
        'model.test_network': 'mean',
        'train_cfg.max_epochs': 1,
        'test_evaluator.type': 'PairAccuracy',
    }
    return tiny.make_config(work_dir, {**pair, **options}, method='baseline')


@pytest.fixture(scope='module')
def pair(tmp_path_factory):
    """A checkpoint of one epoch."""
    work_dir = tmp_path_factory.mktemp('pair')
    tiny.train(config(work_dir))
    return work_dir / 'epoch_1.pth'


def part(state, prefix):
    return {name.removeprefix(prefix): value for name, value in state.items() if name.startswith(prefix)}


@pytest.fixture
def without(pair, tmp_path):
    """Function: the checkpoint without the tensors whose names start with one of the prefixes."""

    def make(*prefixes):
        state = tiny.load(pair)['state_dict']
        torch.save(
            {'state_dict': {k: v for k, v in state.items() if not k.startswith(prefixes)}}, tmp_path / 'part.pth'
        )
        return tmp_path / 'part.pth'

    return make


def test_one_test_reports_both_networks_and_their_mean(pair, tmp_path):
    together = tiny.evaluate(config(tmp_path / 'mean'), pair)
    assert set(together) == {f'accuracy/top1{name}' for name in ('', '_network0', '_network1')}
    for network in (0, 1):
        alone = tiny.evaluate(config(tmp_path / str(network), **{'model.test_network': network}), pair)
        assert alone == {'accuracy/top1': together[f'accuracy/top1_network{network}']}


@pytest.mark.parametrize(
    'network, unused, needed',
    [(0, ['peer.'], 'head.'), (1, ['backbone.', 'head.'], 'peer.head.'), ('mean', [], 'peer.head.')],
)
def test_a_test_needs_the_networks_that_predict_and_no_other(network, unused, needed, without, tmp_path):
    cfg = config(tmp_path, **{'model.test_network': network})
    tiny.evaluate(cfg, without('branches.', *unused))
    with pytest.raises(InputError, match=rf'lacks 2 of the \d+ tensors that DCMClassifier expects \(first: {needed}'):
        tiny.evaluate(cfg, without(needed))


@torch.no_grad()
def test_analysis_loads_the_network_that_predicts(pair, without, tmp_path):
    images = torch.randn(2, 3, 16, 16)
    state = tiny.load(pair)['state_dict']
    peer = MODELS.build(PLAIN_PEER)
    peer.load_state_dict(part(state, 'peer.'))
    cfg = config(tmp_path, **{'model.test_network': 1})
    classifier = load_classifier('peer', cfg, str(without('backbone.', 'head.')))
    torch.testing.assert_close(classifier.logits(images), peer.eval()(images))
    with pytest.raises(InputError, match=r'first: peer\.backbone\.'):
        load_classifier('peer', cfg, str(without('peer.backbone.')))


@torch.no_grad()
@pytest.mark.parametrize('network', [0, 1])
def test_each_network_is_exported_as_a_plain_classifier(network, pair, tmp_path):
    state = tiny.load(pair)['state_dict']
    expected = (
        part(state, 'peer.') if network else {k: v for k, v in state.items() if k.startswith(('backbone.', 'head.'))}
    )
    export(str(pair), str(tmp_path / 'out.pth'), network=network)
    exported = torch.load(tmp_path / 'out.pth', weights_only=True)['state_dict']
    export(str(pair), str(tmp_path / 'out.safetensors'), 'safetensors', network=network)
    tiny.assert_same_state(exported, expected)
    tiny.assert_same_state(
        dict(sorted(load_file(tmp_path / 'out.safetensors').items())), dict(sorted(expected.items()))
    )


@torch.no_grad()
@pytest.mark.parametrize('format', ['torchvision', 'timm'])
def test_the_second_network_goes_to_other_libraries(format, tmp_path):
    """Its config is completed by the first's, whose backbone has no counterpart there."""
    head = dict(type='LinearClsHead', num_classes=10, in_channels=64)
    peer = dict(backbone=dict(type='ResNet', depth=18), head=dict(in_channels=512))
    wrn = dict(type='WideResNet_CIFAR', depth=10, widen_factor=1)
    model = dict(type='DCMClassifier', backbone=wrn, neck=dict(type='GlobalAveragePooling'), head=head, peer=peer)
    state = MODELS.build({**model, 'ds_weight': 0, 'same_weight': 0, 'cross_weight': 0}).state_dict()
    torch.save(dict(state_dict=state, meta=dict(cfg=Config(dict(model=model)).pretty_text)), tmp_path / 'pair.pth')
    count = export(str(tmp_path / 'pair.pth'), str(tmp_path / 'out.pth'), format, network=1)
    exported = torch.load(tmp_path / 'out.pth', weights_only=True)
    assert len(exported) == count and torch.equal(exported['fc.weight'], state['peer.head.fc.weight'])
    with pytest.raises(InputError, match=f'^{format} has no counterpart of WideResNet_CIFAR'):
        export(str(tmp_path / 'pair.pth'), str(tmp_path / 'none.pth'), format)


def test_the_average_of_the_second_network_is_exported(pair, tmp_path):
    checkpoint = tiny.load(pair)
    trained = {f'module.{name}': value + 1 for name, value in checkpoint['state_dict'].items()}
    torch.save({**checkpoint, 'ema_state_dict': trained}, tmp_path / 'ema.pth')
    for ema, added in ((False, 1), (True, 0)):
        export(str(tmp_path / 'ema.pth'), str(tmp_path / 'out.pth'), ema=ema, network=1)
        exported = torch.load(tmp_path / 'out.pth', weights_only=True)['state_dict']
        assert torch.equal(exported['head.fc.bias'], checkpoint['state_dict']['peer.head.fc.bias'] + added)


def test_a_network_that_is_not_there_ends_in_one_line(pair, without, tmp_path, monkeypatch):
    tool, out = 'checkpoints/export_backbone.py', tmp_path / 'out.pth'
    single = without('peer.')
    for checkpoint, network, expected in (
        (pair, 2, 'network=2: expected 0, or 1 for the second of two networks that DCM trains'),
        (single, 1, f'checkpoint {single} has no peer.backbone.* weights: expected one of two networks, as DCM has'),
    ):
        message = tiny.error_of(tool, checkpoint, out, '--network', network, monkeypatch=monkeypatch)
        assert message == f'error: {expected}'
    assert not out.exists()


def test_the_command_line_exports_the_second_network(pair, tmp_path, monkeypatch, capsys):
    out = tmp_path / 'out.pth'
    tool = 'tools/checkpoints/export_backbone.py'
    tiny.run_script(tool, pair, out, '--network', '1', monkeypatch=monkeypatch)
    assert 'tensors in the format mm; read back' in capsys.readouterr().out
    MODELS.build(PLAIN_PEER).load_state_dict(torch.load(out, weights_only=True)['state_dict'], strict=True)


@pytest.mark.parametrize('prefix', ['backbone.', 'peer.backbone.'])
def test_either_backbone_starts_a_downstream_network(prefix, pair):
    state = tiny.load(pair)['state_dict']
    plain = Config(config('unused').model) if prefix == 'backbone.' else PLAIN_PEER
    init_cfg = dict(type='Pretrained', checkpoint=str(pair), prefix=prefix)
    backbone = MODELS.build({**plain['backbone'], 'init_cfg': init_cfg})
    backbone.init_weights()
    tiny.assert_same_state(dict(backbone.state_dict()), part(state, prefix))
    # What the hook compares it with.
    tiny.assert_same_state(backbone_tensors(str(pair), prefix), part(state, prefix))
