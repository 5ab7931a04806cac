"""MixSKD on a small member of each family of backbones: its stages, its branches, its gradients, its prediction."""

import copy

import pytest
import torch
from families import FAMILIES
from mmpretrain.models import ImageClassifier
from mmpretrain.registry import MODELS

from mixskd_mm.models import Mixture
from mixskd_mm.models.stages import cut_of, global_average_pool, stage_outputs

MIXTURE = Mixture(0.3, [1, 2, 3, 0])


@pytest.fixture(scope='module', params=FAMILIES.values(), ids=FAMILIES.keys())
def family(request):
    """A member and its MixSKDClassifier with initial weights, which the tests do not change."""
    torch.manual_seed(0)
    model = MODELS.build(request.param.config())
    model.init_weights()
    model.train()
    return request.param, model


def randomised(model):
    """A copy in float64 and evaluation mode in which no scale is 0 or 1e-6 and no running statistic 0 or 1."""
    model = copy.deepcopy(model).double()
    model.eval()
    generator = torch.Generator().manual_seed(0)
    for name, tensor in model.state_dict().items():
        if tensor.is_floating_point() and tensor.ndim == 1:
            tensor.uniform_(0.5, 1.5, generator=generator) if 'bias' not in name else tensor.normal_(
                generator=generator
            )
    return model


def test_stages_one_after_another_are_the_backbone(family, make_batch):
    member, model = family
    model = randomised(model)
    images, _ = make_batch(2, size=64, dtype=torch.float64)
    outputs = stage_outputs(model.backbone, images)
    assert [output.shape[1:] for output in outputs] == [(c, s, s) for c, s in zip(member.channels, member.sizes)]
    torch.testing.assert_close(model.classify(outputs[-1]), model(images), rtol=1e-9, atol=1e-9)
    if not member.pools_itself:
        torch.testing.assert_close(outputs[-1], model.backbone(images)[-1], rtol=1e-9, atol=1e-9)


def test_maps_of_the_branches_have_the_shape_of_the_last(family, make_batch):
    _, model = family
    outputs = stage_outputs(model.backbone, make_batch(2, size=64)[0])
    assert len(model.branches) == len(outputs) - 1
    for branch, output in zip(model.branches, outputs):
        feature = branch(output)
        assert feature.shape == outputs[-1].shape
        assert branch.classify(global_average_pool(feature)).shape == (2, 10)


def later_parameters(model, k):
    """Of the backbone, by name, what b_k has too: the stages after the k-th, and the norm after pooling."""
    cut = cut_of(model.backbone)
    paths = [path for names in cut.stages[k:] for path in names] + (cut.after_pool or [])
    return {n: p for n, p in model.backbone.named_parameters() if any(n.startswith(f'{path}.') for path in paths)}


def test_branches_have_the_parameters_of_the_remaining_stages(family):
    _, model = family
    for k, branch in enumerate(model.branches, start=1):
        shapes = {name: p.shape for name, p in branch.stages.named_parameters()}
        assert shapes == {name: p.shape for name, p in later_parameters(model, k).items()}
        head, own_head = ({n: p.shape for n, p in h.named_parameters()} for h in (branch.head, model.head))
        assert head == own_head
    assert len(shapes) > 1


def test_branches_start_as_the_backbone_but_with_other_draws(family):
    """Constants are the same, what is random has the same deviation, and nothing is a copy or shared."""
    _, model = family
    seen = {p.data_ptr() for p in model.backbone.parameters()}
    drawn = 0
    for k, branch in enumerate(model.branches, start=1):
        others = [later_parameters(model, k), *(dict(b.stages.named_parameters()) for b in model.branches[: k - 1])]
        for name, p in branch.stages.named_parameters():
            assert p.requires_grad and p.data_ptr() not in seen
            seen.add(p.data_ptr())
            own = others[0][name]
            if (own == own.flatten()[0]).all():
                assert torch.equal(p, own), name
            else:
                assert not any(torch.equal(p, other[name]) for other in others), name
                drawn += 1
            if p.numel() > 2000:
                assert p.std().item() == pytest.approx(own.std().item(), rel=0.15), name
    assert drawn > 3


def test_every_trainable_parameter_gets_a_gradient(family, make_batch):
    _, model = family
    model = copy.deepcopy(model)
    sum(model.loss(*make_batch(size=64), MIXTURE).values()).backward()
    assert [name for name, p in model.named_parameters() if p.requires_grad and p.grad is None] == []
    assert all(p.grad.isfinite().all() for p in model.parameters() if p.requires_grad)
    # The stem learns, through all branches.
    first = next(p for p in model.backbone.parameters() if p.ndim > 1)
    assert (first.grad != 0).any()


def test_a_few_iterations_lower_the_loss(family, make_batch):
    _, model = family
    model = copy.deepcopy(model)
    images, samples = make_batch(size=64)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3)
    totals = []
    for _ in range(4):
        losses = model.loss(images, samples, MIXTURE)
        totals.append(losses['loss_cls'].item() + losses['loss_cls_h'].item())
        optimizer.zero_grad()
        sum(losses.values()).backward()
        optimizer.step()
    assert min(totals) < 0.99 * totals[0]


def test_prediction_and_its_keys_are_those_of_the_plain_classifier(family, make_batch):
    member, model = family
    model = randomised(model)
    config = member.config(type='ImageClassifier')
    config.pop('stages', None)
    plain = MODELS.build(config).double()
    plain.eval()
    auxiliary = ('branches.', 'self_teacher.', 'discriminators.')
    state = {key: value for key, value in model.state_dict().items() if not key.startswith(auxiliary)}
    plain.load_state_dict(state, strict=True)
    images, samples = make_batch(2, size=64, dtype=torch.float64)
    assert type(plain) is ImageClassifier and torch.equal(model(images), plain(images))
    for ours, theirs in zip(model.predict(images, samples), plain.predict(images, samples)):
        assert torch.equal(ours.pred_score, theirs.pred_score)


def test_its_state_is_loaded_again(family):
    member, model = family
    other = MODELS.build(member.config())
    state = model.state_dict()
    other.load_state_dict(state, strict=True)
    assert all(torch.equal(value, state[key]) for key, value in other.state_dict().items())
