"""FGSM (Table 5, left) against the closed form for two classes of a linear softmax model.

The gradient's sign is -sign(w_y - w_other), so without clipping eps lowers the margin by eps ||w_y - w_other||_1, w taken
with respect to image values from 0 to 1.
"""

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from mmpretrain.structures import DataSample
from torch import nn

from mixskd_mm.errors import InputError
from mixskd_mm.evaluation import LoadedClassifier, fgsm_top1, gradient_sign, perturb

MEAN, STD = [120.0, 110.0, 100.0], [60.0, 30.0, 90.0]
EPSILONS = [0.0, 0.0105, 0.019, 0.036, 0.061]


@pytest.fixture
def two_classes():
    """Weight, bias, 40 images far from 0 and 255, labels of which some are wrong."""
    rng = np.random.default_rng(0)
    weight, bias = rng.normal(size=(2, 12)), np.array([0.3, -0.2])
    images = rng.integers(80, 170, size=(40, 3, 2, 2))
    return weight, bias, images, rng.integers(2, size=40)


def build(make_classifier, two_classes, **preprocessor):
    weight, bias, images, labels = two_classes
    return make_classifier(
        torch.tensor(images, dtype=torch.uint8),
        labels,
        torch.tensor(weight, dtype=torch.float32),
        torch.tensor(bias, dtype=torch.float32),
        batch_size=7,
        **preprocessor,
    )


def closed_form(two_classes, mean, std, flip):
    """Top-1 in percent for each eps, from margins in float64."""
    weight, bias, images, labels = two_classes
    # Which channel of the image a weight sees.
    seen = images[:, ::-1] if flip else images
    normalised = (seen - np.reshape(mean, (3, 1, 1))) / np.reshape(std, (3, 1, 1))
    logits = normalised.reshape(len(images), -1) @ weight.T + bias
    margins = np.where(labels == 1, 1, -1) * (logits[:, 1] - logits[:, 0])
    per_value = (weight[1] - weight[0]).reshape(3, 4) * 255 / np.reshape(std, (3, 1))
    thresholds = margins / np.abs(per_value).sum()
    assert np.abs(thresholds[:, None] - EPSILONS).min() > 1e-5
    return [100 * np.mean(thresholds > epsilon) for epsilon in EPSILONS]


@pytest.mark.parametrize('flip', [False, True])
def test_margins_shrink_by_eps_times_the_l1_norm(make_classifier, two_classes, flip):
    classifier = build(make_classifier, two_classes, mean=MEAN, std=STD, to_rgb=flip)
    expected = closed_form(two_classes, MEAN, STD, flip)
    # Each eps costs some images, and other settings would cost others.
    assert expected[0] < 100 and all(np.diff(expected) < 0) and expected[-1] < 10
    assert expected != closed_form(two_classes, MEAN, STD, not flip)
    assert expected != closed_form(two_classes, MEAN, [60.0] * 3, flip)
    assert fgsm_top1(classifier, EPSILONS) == pytest.approx(expected)


def test_without_normalisation_eps_is_still_in_values_from_0_to_1(make_classifier, two_classes):
    expected = closed_form(two_classes, [0.0] * 3, [1.0] * 3, False)
    assert fgsm_top1(build(make_classifier, two_classes), EPSILONS) == pytest.approx(expected)


@pytest.mark.parametrize('scale', [0.1, 1.0, 3.0])
def test_the_sign_is_that_of_the_cross_entropys_gradient(scale):
    generator = torch.Generator().manual_seed(0)
    network = nn.Sequential(nn.Linear(6, 20), nn.Tanh(), nn.Linear(20, 5)).double()
    for parameter in network.parameters():
        parameter.data = scale * torch.randn(parameter.shape, generator=generator, dtype=torch.float64)
    images, labels = torch.randn(30, 6, generator=generator).double(), torch.arange(30) % 5
    sign = gradient_sign(network, images, labels)
    assert not images.requires_grad and all(parameter.grad is None for parameter in network.parameters())
    images.requires_grad_()
    F.cross_entropy(network(images), labels).backward()
    assert torch.equal(sign, images.grad.sign()) and (sign < 0).any() and (sign > 0).any()


def test_a_confident_prediction_is_attacked_too():
    """With logits 0 and 200 dCE/dx itself is 0 in float32."""
    image, label = torch.tensor([[200.0, 0.0]]), torch.tensor([1])
    sign = gradient_sign(lambda x: torch.stack([x[:, 1], x[:, 0]], dim=1), image, label)
    assert sign.tolist() == [[-1.0, 1.0]]


def test_perturb_moves_along_the_sign_and_clips():
    images = torch.tensor([0.0, 100.0, 250.0, 255.0, 40.0])
    sign = torch.tensor([-1.0, 1.0, 1.0, 0.0, -1.0])
    # 0.1 of the range is 25.5.
    torch.testing.assert_close(perturb(images, sign, 0.1), torch.tensor([0.0, 125.5, 255.0, 255.0, 14.5]))
    assert torch.equal(perturb(images, sign, 0.0), images)


def test_the_attack_cannot_leave_the_range_of_images(make_classifier):
    images = torch.tensor([0, 0, 250, 250], dtype=torch.uint8).reshape(4, 1, 1, 1).expand(4, 3, 1, 1)
    # Class 1 wins where the mean is above 100; labels 0, 1, 1, 0.
    weight, bias = torch.tensor([[0.0] * 3, [1 / 3] * 3]), torch.tensor([0.0, -100.0])
    classifier = make_classifier(images, [0, 1, 1, 0], weight, bias)
    # By hand. Right ones flip at (100 - 0) / 255 = 0.392 and (250 - 100) / 255 = 0.588; wrong ones stay wrong.
    assert fgsm_top1(classifier, [0.0, 0.39, 0.4, 0.58, 0.59, 3.0]) == [50.0, 50.0, 25.0, 25.0, 0.0, 0.0]


def test_what_clipping_leaves_of_the_margin_counts(make_classifier):
    """One channel is 0 already, where the attack would lower it: only the other two lose."""
    images = torch.tensor([[0, 100, 100]], dtype=torch.uint8).reshape(1, 3, 1, 1)
    # Class 1 wins where the sum is above 60: 140 to lose on two channels, so at 70 / 255 = 0.2745. On three: at 0.183.
    weight, bias = torch.tensor([[0.0] * 3, [1.0] * 3]), torch.tensor([0.0, -60.0])
    assert fgsm_top1(make_classifier(images, [1], weight, bias), [0.19, 0.27, 0.28]) == [100.0, 100.0, 0.0]


def test_padding_is_not_attacked(make_classifier):
    """Only the image's own 3 values may change, not the 12 of the padded 2 x 2 image."""
    images = torch.full((1, 3, 1, 1), 100, dtype=torch.uint8)
    weight, bias = torch.stack([torch.zeros(12), torch.ones(12)]), torch.tensor([0.0, -30.0 * 3])
    classifier = make_classifier(images, [1], weight, bias, pad_size_divisor=2, pad_value=0)
    # 70 of 255 to lose on each value: 0.2745. With the padding, a quarter of it would do.
    assert fgsm_top1(classifier, [0.07, 0.27, 0.28]) == [100.0, 100.0, 0.0]


def test_no_gradient_reaches_parameters_and_no_statistics_change(build_mixskd, make_batch):
    model = build_mixskd()
    model.loss(*make_batch(8))
    generator = torch.Generator().manual_seed(1)
    images = torch.randint(256, (9, 3, 16, 16), generator=generator, dtype=torch.uint8)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    classifier = LoadedClassifier('mixskd', model, [dict(inputs=image) for image in images], list(range(9)), 4)
    first = fgsm_top1(classifier, [0.0, 0.5])
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert all(parameter.grad is None for parameter in model.parameters())
    assert fgsm_top1(classifier, [0.0, 0.5]) == first
    samples = [DataSample() for _ in range(9)]
    predictions = model.val_step(dict(inputs=images, data_samples=samples))
    clean = 100 * np.mean([sample.pred_label.item() == i for i, sample in enumerate(predictions)])
    assert first[0] == pytest.approx(clean)


def test_images_of_an_unknown_range_are_refused(make_classifier):
    classifier = make_classifier(torch.rand(2, 3, 1, 1), [0, 1], torch.ones(2, 3), torch.zeros(2))
    with pytest.raises(
        InputError, match=r'^by hand: the test pipeline gives images of type torch.float32: expected torch.uint8'
    ):
        fgsm_top1(classifier, [0.1])
