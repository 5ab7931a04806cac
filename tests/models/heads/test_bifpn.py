import re

import golden
import pytest
import torch
import torch.nn.functional as F
from mmpretrain.registry import MODELS
from torch import nn

from mixskd_mm.errors import InputError
from mixskd_mm.models import BiFPNSelfTeacher
from mixskd_mm.models.heads.bifpn import FusionNode, enlarge, shrink

CASE = golden.case('frskd_networks', 'self_teacher')
VALUES = CASE['values']


def original_name(name):
    """The name in FRSKD's code of our tensor ``name``; ``bottom_up.0`` and ``down_conv.0`` both make T_2."""
    paths = {
        'laterals': 'lat_conv.{}.conv.0',
        'skips': 'lat_conv2.{}.conv.0',
        'from_above': 'up_sample.{}.1.conv.0',
        'from_below': 'down_sample.{}.1.conv.0',
    }
    conv1x1 = re.fullmatch(r'(\w+)\.(\d)\.(conv|norm)\.(\w+)', name)
    if conv1x1:
        module, level, part, tensor = conv1x1.groups()
        return f'layers.0.{paths[module].format(level)}.{int(part == "norm")}.{tensor}'
    node = re.fullmatch(r'(top_down|bottom_up)\.(\d)\.(weight|convs\.(\d)\.\w+)', name)
    if node:
        way, level, rest, layer = node.groups()
        way = {'top_down': 'up', 'bottom_up': 'down'}[way]
        if layer is None:
            return f'layers.0.{way}_weight.{level}'
        # Ours is one list, with the ReLU after the norm; theirs a list for each convolution, with the ReLU before it.
        repeat, position = divmod(int(layer), 4)
        return f'layers.0.{way}_conv.{level}.conv.{repeat}.{position + (repeat > 0)}.{rest.split(".")[-1]}'
    return name


def original_weights(case, shapes):
    """The original network's tensors, which its names and ``shapes`` determine."""
    return golden.weights(dict(seed=case['seed'], values=dict(keys=shapes)))


@pytest.fixture
def teacher():
    hyper = CASE['hyper']
    module = BiFPNSelfTeacher(hyper['channels'], hyper['C'], hyper['width'], hyper['depth'])
    originals = {name: original_name(name) for name in module.state_dict()}
    weights = original_weights(CASE, {originals[name]: t.shape for name, t in module.state_dict().items()})
    module.load_state_dict({name: weights[original] for name, original in originals.items()})
    return module


def run(teacher):
    """Logits and maps for the golden inputs; FRSKD's code applies a ReLU to what it is given."""
    inputs = golden.tensors(CASE)
    return inputs, *teacher([inputs[f'F{i}'].relu() for i in range(1, 5)])


def assert_levels(maps, expected):
    for actual, level in zip(maps, expected, strict=True):
        golden.assert_value(actual.norm(), level['norm'])
        golden.assert_value(actual.flatten()[: len(level['head'])], level['head'], rtol=1e-3)


@pytest.mark.parametrize('mode', ['eval', 'train'])
def test_logits_and_maps_equal_the_originals(teacher, mode):
    """In training mode too, where ours convolves before it doubles and the original after."""
    _, logits, maps = run(teacher.train(mode == 'train'))
    golden.assert_value(logits, VALUES[f'{mode}_logits'], rtol=1e-3)
    assert_levels(maps, VALUES[f'{mode}_levels'])


def test_maps_before_their_relu_equal_the_originals(teacher):
    before = []
    for node in (teacher.top_down[0], *teacher.bottom_up):
        node.convs[-2].register_forward_hook(lambda module, args, output: before.append(output.clone()))
    run(teacher.eval())
    assert_levels(before, VALUES['eval_levels_before_final_relu'])


def test_gradients_of_the_cross_entropy_equal_the_originals(teacher):
    inputs, logits, _ = run(teacher)
    loss = F.cross_entropy(logits, inputs['y'])
    golden.assert_value(loss, VALUES['train_ce'])
    golden.assert_gradients(loss, inputs, CASE['grads']['ce_self_teacher'])
    loss.backward()
    norms = {original_name(name): p.grad.norm().item() for name, p in teacher.named_parameters()}
    assert norms == pytest.approx(VALUES['grad_norms_ce'], rel=1e-3)


def test_parameter_counts_are_the_originals():
    def count(*args):
        return sum(p.numel() for p in BiFPNSelfTeacher(*args).parameters())

    assert golden.case('frskd_networks', 'parameter_counts') == {
        'self_teacher_resnet18_cifar_width2_depth2_C100': count([64, 128, 256, 512], 100),
        'self_teacher_resnet18_width1_depth1_C100': count([64, 128, 256, 512], 100, 1, 1),
        'self_teacher_wrn16x2_width2_depth2_C100': count([32, 64, 128], 100),
    }


def test_maps_of_the_cifar_resnet_are_those_that_the_original_feeds():
    """Its blocks have the ReLU at their entry and it is fed ReLU(F_i): the maps of the usual network after its blocks."""
    case = golden.case('frskd_networks', 'cifar_resnet18')
    backbone = MODELS.build(dict(type='ResNet_CIFAR', depth=18, out_indices=(0, 1, 2, 3)))
    shapes = {name: t.shape for name, t in backbone.state_dict().items()}
    weights = original_weights(case, {**shapes, 'fc.weight': (100, 512), 'fc.bias': (100,)})
    fc = weights.pop('fc.weight'), weights.pop('fc.bias')
    backbone.load_state_dict(weights)
    backbone.eval()
    with torch.no_grad():
        features = backbone(golden.tensors(case)['x'])
        logits = F.linear(features[-1].mean((2, 3)), *fc)
    assert_levels(features, case['values']['eval_features'])
    golden.assert_value(logits[:, :6], case['values']['eval_logits_first6'], rtol=1e-3)


SIZES = {
    'ResNet-18, 224 px': [(56, 56), (28, 28), (14, 14), (7, 7)],
    'ResNet-18, 90 x 64 px': [(23, 16), (12, 8), (6, 4), (3, 2)],
    'WRN-16-2, 32 px': [(32, 32), (16, 16), (8, 8)],
    'DenseNet-40-12, 32 px': [(16, 16), (8, 8), (8, 8)],
    'DenseNet-40-12, 30 x 32 px': [(15, 16), (7, 8), (7, 8)],
    'one pixel': [(1, 2), (1, 1), (1, 1)],
}


@pytest.mark.parametrize('sizes', SIZES.values(), ids=SIZES)
def test_each_map_keeps_its_height_and_width_and_each_parameter_gets_a_gradient(sizes):
    channels = [4, 6, 8, 10][: len(sizes)]
    teacher = BiFPNSelfTeacher(channels, num_classes=5, width=1, depth=1)
    random = torch.Generator().manual_seed(0)
    features = [torch.rand(2, c, *size, generator=random) for c, size in zip(channels, sizes, strict=True)]
    logits, maps = teacher(features)
    assert logits.shape == (2, 5)
    assert [m.shape for m in maps] == [f.shape for f in features]
    logits.square().sum().backward()
    assert [name for name, p in teacher.named_parameters() if not p.grad.count_nonzero()] == []


def test_width_multiplies_the_channels_of_each_map():
    _, maps = BiFPNSelfTeacher([2, 5], num_classes=3, width=3)([torch.rand(2, 2, 4, 4), torch.rand(2, 5, 2, 2)])
    assert [m.shape for m in maps] == [(2, 6, 4, 4), (2, 15, 2, 2)]


def test_nothing_is_resized_between_stages_of_equal_size():
    """Then only the 3x3 convolutions see a pixel's neighbours: without these, T of shuffled pixels is T, shuffled."""
    torch.manual_seed(0)
    teacher = BiFPNSelfTeacher([3, 4, 5], num_classes=2).double()
    centre = torch.zeros(3, 3, dtype=torch.float64)
    centre[1, 1] = 1
    for module in teacher.modules():
        if isinstance(module, nn.Conv2d) and module.groups > 1:
            module.weight.data *= centre
    features = [torch.rand(2, c, 4, 3, dtype=torch.float64) for c in (3, 4, 5)]
    shuffle = torch.randperm(12)
    shuffled = [f.flatten(2)[:, :, shuffle].view_as(f) for f in features]
    for a, b in zip(teacher(features)[1], teacher(shuffled)[1], strict=True):
        torch.testing.assert_close(a.flatten(2)[:, :, shuffle], b.flatten(2))


@pytest.mark.parametrize(
    ('length', 'half', 'last', 'first'),
    [
        # Windows of even lengths are padded at the end, of odd ones at both ends or, if their half is rounded down, nowhere.
        (6, 3, [2, 4, 5], [0, 2, 4]),
        (5, 3, [1, 3, 4], [0, 1, 3]),
        (5, 2, [2, 4], [0, 2]),
        (2, 1, [1], [0]),
        (3, 3, [0, 1, 2], [0, 1, 2]),
    ],
)
def test_shrinking_is_tensorflows_same_max_pooling(length, half, last, first):
    rising = torch.arange(length, dtype=torch.float32)
    for values, positions in ((rising, last), (length - rising, first)):
        rows = values.view(1, 1, length, 1).expand(1, 1, length, 4)
        torch.testing.assert_close(shrink(rows, (half, 4 if half == length else 2))[0, 0, :, 0], values[positions])
        columns = rows.transpose(2, 3)
        torch.testing.assert_close(shrink(columns, (4 if half == length else 2, half))[0, 0, 0], values[positions])


def test_enlarging_repeats_pixels():
    x = torch.arange(6.0).view(1, 1, 2, 3)
    torch.testing.assert_close(enlarge(x, (4, 6)), x.repeat_interleave(2, 2).repeat_interleave(2, 3))
    assert enlarge(x, (3, 5)).shape == (1, 1, 3, 5)


def test_a_negative_fusion_weight_counts_as_zero_and_the_others_sum_to_one():
    node = FusionNode(3, channels=4, depth=1).double()
    node.weight.data = torch.tensor([-1.0, 3.0, 1.0], dtype=torch.float64)
    a, b, c = torch.rand(3, 2, 4, 5, 5, dtype=torch.float64)
    torch.testing.assert_close(node(a, b, c), node.convs(0.75 * b + 0.25 * c), rtol=1e-5, atol=1e-6)


def test_maps_stay_in_half_precision():
    features = [torch.rand(2, 3, 4, 4), torch.rand(2, 4, 2, 2)]
    with torch.autocast('cpu', torch.bfloat16):
        _, maps = BiFPNSelfTeacher([3, 4], num_classes=2)(features)
    assert [m.dtype for m in maps] == [torch.bfloat16] * 2


@pytest.mark.parametrize(
    ('arguments', 'message'),
    [
        (dict(in_channels=[8]), 'in_channels=[8]: expected the channels of at least two stages'),
        (dict(width=0), 'width=0: expected an integer >= 1'),
        (dict(depth=1.5), 'depth=1.5: expected an integer >= 1'),
    ],
)
def test_wrong_arguments_are_named(arguments, message):
    with pytest.raises(InputError) as error:
        BiFPNSelfTeacher(**{'in_channels': [8, 16], 'num_classes': 3, **arguments})
    assert str(error.value) == f'BiFPNSelfTeacher {message}'


@pytest.mark.parametrize('size', [(2, 4), (8, 2), (5, 5), (16, 16)])
def test_a_stage_of_another_size_is_refused(size):
    teacher = BiFPNSelfTeacher([3, 4], num_classes=2)
    with pytest.raises(InputError) as error:
        teacher([torch.rand(2, 3, 8, 8), torch.rand(2, 4, *size)])
    assert str(error.value) == (
        f'BiFPNSelfTeacher stages 1 and 2 have maps of 8 x 8 and {size[0]} x {size[1]}: expected the same size or half of it'
    )
