"""``predict`` and ``tensor`` modes are those of the plain ``ImageClassifier``."""

import pytest
import torch
from mmpretrain.registry import MODELS
from mmpretrain.structures import DataSample
from torch.utils.flop_counter import FlopCounterMode

AUXILIARY = ('branches', 'self_teacher', 'discriminators')


@pytest.fixture
def trained(build_mixskd, make_batch):
    """A classifier whose running statistics are not the initial ones, in evaluation mode."""
    model = build_mixskd()
    model.loss(*make_batch(8))
    return model.eval()


@pytest.fixture
def plain(trained, mixskd_cfg):
    """The plain classifier of the same config with the weights that MixSKD leaves under its keys."""
    classifier = MODELS.build({**mixskd_cfg(), 'type': 'ImageClassifier'}).eval()
    state = trained.state_dict()
    kept = {key: value for key, value in state.items() if key.startswith(('backbone.', 'neck.', 'head.'))}
    classifier.load_state_dict(kept, strict=True)
    return classifier


def test_keys_outside_the_auxiliary_parts_are_exactly_the_plain_classifiers(trained, mixskd_cfg):
    plain = MODELS.build({**mixskd_cfg(), 'type': 'ImageClassifier'}).state_dict()
    state = trained.state_dict()
    kept = {key: value.shape for key, value in state.items() if key.startswith(('backbone.', 'neck.', 'head.'))}
    assert kept == {key: value.shape for key, value in plain.items()}
    dropped = {key.split('.')[0] for key in state if key not in kept}
    assert dropped == set(AUXILIARY)


def test_a_plain_checkpoint_lacks_only_auxiliary_keys(trained, plain):
    missing, unexpected = trained.load_state_dict(plain.state_dict(), strict=False)
    assert unexpected == []
    assert {key.split('.')[0] for key in missing} == set(AUXILIARY)


def test_tensor_mode_gives_the_same_output_to_the_bit(trained, plain, make_batch):
    images, _ = make_batch(5)
    assert torch.equal(trained(images), plain(images))
    assert torch.equal(trained(images, mode='tensor'), plain(images, mode='tensor'))
    for ours, theirs in zip(trained.extract_feat(images, 'backbone'), plain.extract_feat(images, 'backbone')):
        assert torch.equal(ours, theirs)


@pytest.mark.parametrize('with_samples', [True, False])
def test_predict_mode_gives_the_same_predictions_to_the_bit(with_samples, trained, plain, make_batch):
    images, _ = make_batch(5)
    samples = [DataSample(metainfo=dict(img_path=str(i))).set_gt_label(i) for i in range(5)] if with_samples else None
    ours, theirs = trained(images, samples, mode='predict'), plain(images, samples, mode='predict')
    assert len(ours) == 5
    for a, b in zip(ours, theirs):
        assert torch.equal(a.pred_score, b.pred_score) and a.pred_score.shape == (10,)
        assert torch.equal(a.pred_label, b.pred_label)
        assert a.metainfo == b.metainfo


def test_val_and_test_step_are_the_same_to_the_bit(trained, plain, make_batch):
    images, samples = make_batch(5)
    for step in ('val_step', 'test_step'):
        ours = getattr(trained, step)(dict(inputs=images, data_samples=samples))
        theirs = getattr(plain, step)(dict(inputs=images, data_samples=samples))
        assert all(torch.equal(a.pred_score, b.pred_score) for a, b in zip(ours, theirs))


@pytest.mark.parametrize('mode', ['tensor', 'predict'])
def test_inference_costs_the_flops_of_the_plain_classifier(mode, trained, plain, make_batch):
    images, samples = make_batch(2)
    counts = []
    for model in (trained, plain):
        with FlopCounterMode(display=False) as counter, torch.no_grad():
            model(images, samples, mode=mode)
        counts.append(counter.get_total_flops())
    assert counts[0] == counts[1] > 0


@pytest.mark.parametrize('mode', ['tensor', 'predict'])
def test_inference_touches_no_auxiliary_module(mode, trained, make_batch):
    def refuse(module, inputs):
        raise AssertionError('auxiliary module called')

    for part in AUXILIARY:
        for module in getattr(trained, part).modules():
            module.register_forward_pre_hook(refuse)
    images, samples = make_batch(2)
    trained(images, samples, mode=mode)
    # The hooks are where they would be noticed.
    with pytest.raises(AssertionError, match='auxiliary module called'):
        trained(images, samples, mode='loss')


def test_inference_draws_nothing(trained, make_batch, monkeypatch):
    monkeypatch.setattr(type(trained.data_preprocessor), 'draw', None)
    images, samples = make_batch(2)
    before = torch.get_rng_state()
    trained.val_step(dict(inputs=images, data_samples=samples))
    assert torch.equal(torch.get_rng_state(), before)


def test_inference_leaves_out_indices_alone(build_mixskd, make_batch):
    """A backbone that is configured to return several stages goes on doing so."""
    model = build_mixskd(backbone=dict(out_indices=(1, 3)))
    images, samples = make_batch(2)
    model.loss(images, samples)
    assert [f.shape[1] for f in model.extract_feat(images, 'backbone')] == [16, 64]


def test_loading_only_the_kept_keys_gives_the_same_classifier_after_saving(trained, plain, make_batch, tmp_path):
    torch.save(trained.state_dict(), tmp_path / 'checkpoint.pth')
    state = torch.load(tmp_path / 'checkpoint.pth', weights_only=True)
    auxiliary = tuple(f'{part}.' for part in AUXILIARY)
    plain.load_state_dict({key: value for key, value in state.items() if not key.startswith(auxiliary)}, strict=True)
    images, _ = make_batch(3)
    assert torch.equal(trained(images), plain(images))
