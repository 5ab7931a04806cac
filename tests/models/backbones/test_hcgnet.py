import pytest
import torch
import torch.nn.functional as F
from layer_reference import batch_norm, batch_norm_relu, linear, norm_relu_conv, random_maps, randomised

from mixskd_mm.errors import InputError
from mixskd_mm.models.backbones.hcgnet import AttentionPool, HCGNet_CIFAR, SMGUnit, Transition, UpdateGate


def count(module):
    return sum(p.numel() for p in module.parameters())


@pytest.mark.parametrize(
    'arguments, expected',
    [
        (dict(), 1_102_651),
        (dict(growth_rates=(24, 36, 64)), 3_133_679),
        (dict(growth_rates=[36, 48, 80], num_units=12), 11_363_647),
    ],
    ids=['A1', 'A2', 'A3'],
)
def test_parameters_with_a_classifier_of_100_classes(arguments, expected):
    with torch.device('meta'):
        backbone = HCGNet_CIFAR(**arguments)
    assert count(backbone) + 100 * backbone.feat_dim + 100 == expected


def test_parameters_of_the_parts_of_a1():
    backbone = HCGNet_CIFAR()
    t1, t2, norm = backbone.layer2.transition, backbone.layer3.transition, backbone.layer3.norm
    assert (count(backbone.conv1), count(t1), count(t2), count(norm)) == (648, 70_638, 306_213, 828)
    assert count(backbone.layer1) == 46_440
    assert count(backbone.layer2) == 70_638 + 185_208
    assert count(backbone.layer3) == 306_213 + 451_176 + 828
    assert count(backbone.layer1.unit1) == 3_705
    assert count(backbone) + 10 * 414 + 10 == 1_065_301


def attention_pool(pool, x):
    """Image by image: the mean of all positions' vectors, weighted with a softmax over the positions."""
    vectors = []
    for image in x:
        positions = [image[:, i, j] for i in range(x.shape[2]) for j in range(x.shape[3])]
        weights = torch.stack([(pool.score.weight[0] @ v + pool.score.bias[0]).exp() for v in positions])
        weights = weights / weights.sum()
        vectors.append(sum(w * v for w, v in zip(weights, positions, strict=True)))
    return torch.stack(vectors)


def gated_sum(gated, u):
    """u g + n: what the forget gate keeps of each channel, plus the update gate's vector at every position."""
    forget, update = gated.forget, gated.update
    squeezed = batch_norm(forget.squeeze[1], linear(forget.squeeze[0], attention_pool(forget.pool, u))).tanh()
    g = 1 / (1 + (-linear(forget.fc, squeezed)).exp())

    channels = u.shape[1]
    a = attention_pool(update.pool3x3, norm_relu_conv(update.conv3x3, u, padding=1, groups=channels))
    b = attention_pool(update.pool5x5, norm_relu_conv(update.conv5x5, u, padding=2, dilation=2, groups=channels))
    squeezed = linear(update.squeeze[0], torch.cat([a, b], dim=1))
    squeezed = batch_norm(update.squeeze[1], squeezed).tanh()
    e_a, e_b = linear(update.fc3x3, squeezed).exp(), linear(update.fc5x5, squeezed).exp()
    n = (e_a * a + e_b * b) / (e_a + e_b)
    return torch.stack([u[:, :, i, j] * g + n for i in range(u.shape[2]) for j in range(u.shape[3])], -1).view(u.shape)


def test_attention_pool_of_equal_scores_is_the_average_and_of_one_high_score_that_position():
    pool, x = AttentionPool(3).double(), random_maps(2, 3, 4, 5)
    torch.nn.init.zeros_(pool.score.weight)
    torch.testing.assert_close(pool(x), x.mean((2, 3)), rtol=1e-12, atol=1e-12)
    x[:, 1, 2, 3] = 1000
    with torch.no_grad():
        pool.score.weight[0, 1] = 1
    torch.testing.assert_close(pool(x), x[:, :, 2, 3], rtol=1e-12, atol=1e-12)


def test_unit():
    """On maps that are not square, of which the dilated convolution sees the 5x5 surroundings."""
    unit, x = randomised(SMGUnit(6, 8)), random_maps(3, 6, 5, 7)
    u = norm_relu_conv(unit.squeeze[0], x)
    assert u.shape[1] == 4 * 8
    u = norm_relu_conv(unit.squeeze[1], u, padding=1, groups=4)
    output = unit(x)
    assert output.shape == (3, 6 + 8, 5, 7)
    assert torch.equal(output[:, :6], x)
    torch.testing.assert_close(output[:, 6:], gated_sum(unit.gated, u), rtol=1e-9, atol=1e-9)
    assert unit.gated.forget.fc.in_features == 8 // 2
    assert unit.gated.update.fc3x3.in_features == 2 * 8 // 2


def test_transition():
    """Halves channels, height and width; nothing is concatenated, and the gates squeeze to a quarter."""
    transition, x = randomised(Transition(20, 10)), random_maps(3, 20, 6, 8)
    u = norm_relu_conv(transition[0], x)
    assert u.shape[1] == 20 - (20 - 10) // 2
    u = norm_relu_conv(transition[1], u, padding=1, stride=2)
    output = transition(x)
    assert output.shape == (3, 10, 3, 4)
    torch.testing.assert_close(output, gated_sum(transition[2], u), rtol=1e-9, atol=1e-9)
    assert transition[2].forget.fc.in_features == 10 // 4
    assert transition[2].update.fc3x3.in_features == 2 * 10 // 4


def test_stages_are_transition_and_units_one_after_the_other():
    backbone = randomised(HCGNet_CIFAR((4, 8, 4), num_units=2, out_indices=(0, 1, 2)))
    images = random_maps(2, 3, 8, 8)
    outputs = backbone(images)
    y, expected = F.conv2d(images, backbone.conv1.weight, padding=1), []
    for stage in (backbone.layer1, backbone.layer2, backbone.layer3):
        if stage is not backbone.layer1:
            y = stage.transition(y)
        y = stage.unit2(stage.unit1(y))
        expected.append(y)
    expected[-1] = batch_norm_relu(backbone.layer3.norm, y)
    assert [y.shape[1:] for y in expected] == [(16, 8, 8), (8 + 16, 4, 4), (12 + 8, 2, 2)]
    for output, other in zip(outputs, expected, strict=True):
        torch.testing.assert_close(output, other, rtol=1e-10, atol=1e-10)


def test_gates_keep_pytorchs_initialisation_and_convolutions_get_hes():
    backbone = HCGNet_CIFAR()
    backbone.init_weights()
    transition = backbone.layer3.transition
    assert transition[1].conv.weight.std().item() == pytest.approx((2 / (9 * 126)) ** 0.5, rel=0.02)
    gate = transition[2].update.squeeze[0]
    # Uniform up to 1 / sqrt(inputs).
    assert gate.weight.abs().max().item() == pytest.approx(252**-0.5, rel=0.01)
    assert gate.weight.std().item() == pytest.approx((3 * 252) ** -0.5, rel=0.03)
    assert transition[2].forget.pool.score.weight.abs().max() <= 126**-0.5


def test_one_image_is_refused_in_training_in_one_line_and_predicted_otherwise():
    backbone, images = HCGNet_CIFAR((4, 4, 4), num_units=1), torch.randn(2, 3, 8, 8)
    with pytest.raises(InputError, match=r'^HCGNet_CIFAR got a batch of 1 image in training: expected at least 2, .*$'):
        backbone(images[:1])
    backbone(images)
    backbone.eval()
    torch.testing.assert_close(backbone(images[:1])[0], backbone(images)[0][:1])


def test_half_precision_maps_stay_so_whatever_the_gates_return():
    """On GPUs autocast's softmax returns float32; on CPUs it does not, so hooks stand in for it."""
    backbone = HCGNet_CIFAR((4, 4, 4), num_units=1, out_indices=(0, 1, 2))
    for module in backbone.modules():
        if isinstance(module, UpdateGate):
            module.register_forward_hook(lambda module, args, new: new.float())
    with torch.autocast('cpu', torch.bfloat16):
        outputs = backbone(torch.randn(2, 3, 8, 8))
    assert [output.dtype for output in outputs] == [torch.bfloat16] * 3
