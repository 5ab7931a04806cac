"""What must hold of MixSKD whatever its weights are."""

import pytest
import torch

from mixskd_mm.models import Mixture
from mixskd_mm.models.base import top1
from mixskd_mm.models.losses import kd_loss
from mixskd_mm.models.stages import global_average_pool, stage_outputs

LAM, INDEX = 0.3, [2, 0, 3, 1, 4]


@pytest.fixture
def model(build_mixskd):
    return build_mixskd().double()


@pytest.fixture
def batch(make_batch):
    return make_batch(5, dtype=torch.float64)


def test_classifiers_commute_with_interpolation(model, batch):
    """FC(GAP(F~)) = f~, so logits may be interpolated where the paper interpolates maps, and the other way round."""
    feature = stage_outputs(model.backbone, batch[0])[-1]
    mixture = Mixture(LAM, INDEX)
    of_interpolated_map = model.head.fc(global_average_pool(mixture(feature)))
    torch.testing.assert_close(
        mixture(model.head.fc(global_average_pool(feature))), of_interpolated_map, rtol=1e-12, atol=1e-12
    )


@pytest.mark.parametrize('mixture', [Mixture(1, INDEX), Mixture(0.3, range(5))], ids=['lam_1', 'identity'])
def test_nothing_to_distil_when_mixed_images_are_the_clean_ones(mixture, model, batch):
    model.eval()
    losses = model.loss(*batch, mixture)
    assert losses['loss_feature'].item() == pytest.approx(0, abs=1e-20)
    assert losses['loss_b_logit'].item() == pytest.approx(0, abs=1e-12)

    # Both views of h are one, so are both of f, and all cross-entropies are those of clean images.
    stages = stage_outputs(model.backbone, batch[0])
    maps = [branch(stage) for branch, stage in zip(model.branches, stages)] + [stages[-1]]
    h = model.self_teacher([global_average_pool(m) for m in maps])
    f = model(batch[0])
    labels = torch.cat([s.gt_label for s in batch[1]])
    torch.testing.assert_close(losses['loss_cls_h'], 2 * torch.nn.functional.cross_entropy(h, labels))
    torch.testing.assert_close(losses['loss_f_logit'], 2 * kd_loss(f, h, 3.0))
    logits = [branch.classify(global_average_pool(m)) for branch, m in zip(model.branches, maps)] + [f]
    clean = sum(torch.nn.functional.cross_entropy(z, labels) for z in logits)
    torch.testing.assert_close(losses['loss_cls'], 3 * clean)


@pytest.mark.parametrize('training', [True, False])
def test_every_term_is_the_same_when_the_pairs_are_read_from_the_other_side(training, model, batch):
    """(x, y, lam, index) and (x[index], y[index], 1 - lam, inverse of index) describe the same mixed images."""
    model.train(training)
    images, samples = batch
    inverse = torch.tensor(INDEX).argsort()
    losses = model.loss(images, samples, Mixture(LAM, INDEX))
    swapped = model.loss(images[INDEX], [samples[j] for j in INDEX], Mixture(1 - LAM, inverse))
    assert losses.keys() == swapped.keys() and len(losses) == 6
    for term, loss in losses.items():
        torch.testing.assert_close(swapped[term], loss, rtol=1e-10, atol=0)


def test_no_image_is_forwarded_twice(model, batch):
    """One forward of N clean and N mixed images, in this order."""
    seen = []
    model.backbone.conv1.register_forward_hook(lambda module, inputs, output: seen.append(inputs[0]))
    model.loss(*batch, Mixture(LAM, INDEX))
    assert len(seen) == 1
    images = batch[0]
    torch.testing.assert_close(seen[0], torch.cat([images, LAM * images + (1 - LAM) * images[INDEX]]))


@pytest.mark.parametrize('training', [True, False])
def test_clean_logits_are_those_of_a_plain_forward_only_with_fixed_norm_statistics(training, model, batch):
    """In training the statistics are those of clean and mixed images together."""
    logits = []
    model.head.register_forward_hook(lambda module, inputs, output: logits.append(output.detach()))
    model.train(training)
    model.loss(*batch, Mixture(LAM, INDEX))
    model(batch[0])
    together, alone = logits
    assert len(together) == 10 and len(alone) == 5
    assert torch.allclose(together[:5], alone, rtol=1e-10) is not training


def test_each_norm_is_updated_once_a_step_with_all_images(model, batch):
    model.loss(*batch, Mixture(LAM, INDEX))
    counters = {key: value.item() for key, value in model.state_dict().items() if key.endswith('num_batches_tracked')}
    assert len(counters) > 40 and set(counters.values()) == {1}
    images = batch[0]
    both = torch.cat([images, Mixture(LAM, INDEX)(images)])
    expected = 0.1 * model.backbone.conv1(both).mean((0, 2, 3))
    torch.testing.assert_close(model.backbone.bn1.running_mean, expected)


def test_weights_multiply_their_terms(build_mixskd, batch):
    plain, weighted = (
        build_mixskd(**kwargs).double().loss(*batch, Mixture(LAM, INDEX))
        for kwargs in (dict(), dict(feature_weight=2, dis_weight=3, logit_weight=5))
    )
    factors = dict(loss_cls=1, loss_feature=2, loss_dis=3, loss_b_logit=5, loss_cls_h=5, loss_f_logit=5)
    for term, factor in factors.items():
        torch.testing.assert_close(weighted[term], factor * plain[term])


def test_without_a_mixture_one_is_drawn(model, batch, monkeypatch):
    asked = []

    def draw(batch_size, image_size):
        asked.append((batch_size, image_size))
        return Mixture(LAM, INDEX)

    monkeypatch.setattr(model.data_preprocessor, 'draw', draw)
    expected = model.loss(*batch, Mixture(LAM, INDEX))
    assert asked == []
    losses = model.loss(*batch)
    assert asked == [(5, (16, 16))]
    assert all(torch.equal(losses[term], expected[term]) for term in expected)


def logged(model, *batch, **kwargs):
    return model.parse_losses(model.loss(*batch, **kwargs))[1]


def test_losses_are_the_terms_alone_and_what_is_logged_beside_them_joins_them_in_the_log(model, batch):
    mixture = Mixture(LAM, INDEX)
    losses = model.loss(*batch, mixture)
    in_mode_loss = model(*batch, mode='loss', mixture=mixture)
    assert in_mode_loss.keys() == losses.keys()
    assert all(torch.equal(in_mode_loss[term], losses[term]) for term in losses)
    total, log_vars = model.parse_losses(losses)
    torch.testing.assert_close(total, sum(losses.values()))
    logs = {'lam', 'top1_f', 'top1_b1', 'top1_b2', 'top1_b3', 'top1_h'}
    assert set(log_vars) == {'loss', *losses, *logs}
    assert log_vars['lam'].item() == LAM
    # Tensors all of them: a number would have waited for the device.
    assert all(isinstance(value, torch.Tensor) and value.ndim == 0 for value in log_vars.values())
    assert not any(log_vars[name].requires_grad for name in logs)


def test_top1_without_a_self_teacher_is_logged_for_the_others(build_mixskd, make_batch):
    log_vars = logged(build_mixskd(logit_weight=0), *make_batch())
    assert {name for name in log_vars if 'loss' not in name} == {'lam', 'top1_f', 'top1_b1', 'top1_b2', 'top1_b3'}


def test_top1_is_the_percentage_of_labels_that_are_the_largest_logit():
    logits = torch.eye(4)
    assert top1(logits, torch.tensor([0, 1, 2, 0])).item() == 75
    assert top1(logits, torch.tensor([3, 3, 3, 3])).item() == 25


def test_top1_counts_clean_images_only(model, batch):
    """With lam = 0 the second half is another image: a head that knows the clean ones is right about all of them."""
    images, samples = batch
    seen = []
    model.head.register_forward_hook(lambda module, inputs, output: seen.append(output))
    model.loss(images, samples, Mixture(0, INDEX))
    for sample, answer in zip(samples, seen[0].argmax(1)):
        sample.set_gt_label(answer.item())
    assert logged(model, images, samples, mixture=Mixture(0, INDEX))['top1_f'].item() == 100


def test_top1_of_each_head_is_its_own(model, batch):
    """Each classifier's bias makes it answer one class of its own."""
    answers = dict(top1_b1=1, top1_b2=2, top1_b3=3, top1_f=4, top1_h=5)
    heads = [branch.head.fc for branch in model.branches] + [model.head.fc, model.self_teacher.fc]
    with torch.no_grad():
        for fc, answer in zip(heads, answers.values()):
            fc.bias[answer] += 1e3
    images, samples = batch
    for sample, label in zip(samples, [1, 1, 2, 4, 5]):
        sample.set_gt_label(label)
    logs = logged(model, images, samples, mixture=Mixture(LAM, INDEX))
    actual = {name: logs[name].item() for name in answers}
    assert actual == pytest.approx(dict(top1_b1=40, top1_b2=20, top1_b3=0, top1_f=20, top1_h=20))
