"""The measurements of tools/benchmark: what they count, and what they say about it."""

import json
import sys
from functools import partial

import pytest
import tiny
import torch
from mmengine.config import Config
from mmengine.registry import DATASETS, init_default_scope

sys.path.append(str(tiny.ROOT / 'tools/benchmark'))

import data_loading
import measure
import train_step
import variants
from variants import Step, Variant, make_loader, parse_variant

from mixskd_mm.errors import InputError


class Clock:
    """In the place of the module ``time``: only what sleeps takes time."""

    now = 0.0

    def perf_counter(self):
        return self.now

    def sleep(self, seconds):
        self.now += seconds


class Counted:
    """A step that is not one: it notes that it ran, and sleeps."""

    def __init__(self, name, log, clock, seconds):
        self.name, self.log, self.clock, self.seconds = name, log, clock, seconds

    def prepare(self):
        self.log.append(f'prepare {self.name}')
        self.clock.sleep(100)

    def __call__(self, batch):
        self.log.append(self.name)
        self.clock.sleep(self.seconds)


# --- Variants ----------------------------------------------------------------------------------------------------------


def test_a_variant_is_written_as_its_method_and_settings():
    variant = parse_variant('ours+compile+channels_last')
    assert variant == Variant('ours', channels_last=True, compile=True)
    assert str(variant) == 'ours+channels_last+compile'
    assert parse_variant('plain') == Variant('plain')


def test_r_compares_with_the_same_settings_and_the_released_graph_is_eager():
    variant = parse_variant('ours+channels_last+amp+fused+compile+checkpoint')
    assert str(variant.plain()) == 'plain+channels_last+amp+fused+compile'
    assert str(variant.released()) == 'released+channels_last+amp+fused'


@pytest.mark.parametrize('device', ['cpu', 'cuda'])
def test_whatever_a_default_variant_is_compared_with_runs_too(device):
    chosen = variants.default_variants(device)
    assert len(set(chosen)) == len(chosen)
    for variant in chosen:
        assert {variant.plain(), variant.released(), variants.RELEASED_AS_IT_SHIPS} <= set(chosen)
    assert any(variant.checkpoint for variant in chosen)


WRONG_VARIANTS = ['theirs', 'ours+', 'ours+fp8', '+compile', 'released+compile', 'plain+no_recompute']


@pytest.mark.parametrize('text', [*WRONG_VARIANTS, 'ours+checkpoint+no_recompute'])
def test_an_unknown_variant_is_named(text):
    with pytest.raises(InputError, match='--variants ' + text.replace('+', r'\+')):
        parse_variant(text)


def test_models_are_those_of_the_recipes():
    """With the number of parameters of the paper's networks and of what training adds."""
    plain, ours, released = (
        variants.build_model('r18_cifar', Variant(method), 'meta') for method in ('plain', 'ours', 'released')
    )
    counts = [sum(p.numel() for p in model.parameters()) for model in (plain, ours, released)]
    discriminators = 4 * (512 * 128 + 128 + 128 + 1)
    assert counts == [11_220_132] + 2 * [11_220_132 + 30_060_076 + 1_099_876 + discriminators]
    assert not isinstance(plain, type(ours)) and isinstance(released, type(ours)) and type(released) is not type(ours)


def test_settings_reach_model_and_optimiser():
    formats = []
    for variant in ('ours+channels_last+fused+checkpoint', 'plain'):
        step = Step('r18_cifar', parse_variant(variant), 'cpu')
        step.model.backbone.layer1.register_forward_hook(
            lambda module, inputs, output: formats.append(output.is_contiguous(memory_format=torch.channels_last))
        )
        step(make_loader(2, 32, 'cpu')())
        (group,) = step.optim_wrapper.optimizer.param_groups
        assert (bool(group['fused']), group['momentum'], group['weight_decay']) == (variant != 'plain', 0.9, 5e-4)
        block = step.model.backbone.layer1[0]
        assert (block.forward == type(block).forward.__get__(block)) is (variant == 'plain')
    assert formats == [True, False]


@pytest.mark.parametrize(
    'variant, stages',
    [('ours', [1]), ('ours+no_recompute', []), ('released', []), ('ours+checkpoint', [1, 2, 3, 4]), ('plain', [])],
)
def test_which_stages_of_resnet50_are_recomputed(variant, stages):
    model = variants.build_model('r50', parse_variant(variant), 'meta')
    layers = {k: getattr(model.backbone, f'layer{k}') for k in range(1, 5)}
    blocks = [k for k, layer in layers.items() if all(isinstance(block.forward, partial) for block in layer)]
    assert (blocks or list(getattr(model.backbone, 'recompute_stages', ()))) == stages


def test_each_batch_has_data_samples_of_its_own():
    load = make_loader(3, 8, 'cpu')
    one, other = load(), load()
    assert one['inputs'].shape == (3, 3, 8, 8) and one['inputs'].dtype == torch.uint8
    assert torch.equal(one['inputs'], other['inputs'])
    assert [a.gt_label.item() for a in one['data_samples']] == [b.gt_label.item() for b in other['data_samples']]
    assert one['data_samples'][0] is not other['data_samples'][0]


# --- Measurements ------------------------------------------------------------------------------------------------------


def test_variants_take_turns_and_the_first_step_of_a_turn_is_not_timed(monkeypatch):
    log, clock = [], Clock()
    monkeypatch.setattr(measure, 'time', clock)
    steps = {name: Counted(name, log, clock, seconds) for name, seconds in (('a', 1), ('b', 3))}
    times = measure.interleaved(steps, dict, rounds=2, device='cpu', repeats=2)
    assert log == 2 * ['prepare a', 'a', 'a', 'a', 'prepare b', 'b', 'b', 'b']
    assert times == {'a': [1, 1], 'b': [3, 3]}


def test_flops_of_a_convolution_and_its_backward_pass():
    layer = torch.nn.Conv2d(3, 8, 3, padding=1).to('meta')
    x = torch.empty(2, 3, 16, 16, device='meta', requires_grad=True)
    forward = 2 * 2 * 16 * 16 * 8 * 3 * 9
    assert measure.count_flops(lambda batch: layer(x), {}) == forward
    assert measure.count_flops(lambda batch: layer(x).sum().backward(), {}) == 3 * forward


def test_flops_of_the_networks():
    """Ratios to the plain step of the same clean images; only h reads other maps in the released graph."""
    load = make_loader(2, 32, 'cpu')
    flops = {
        method: measure.count_flops(Step('r18_cifar', Variant(method), 'meta'), load())
        for method in ('plain', 'ours', 'released')
    }
    # Forward of the plain network on one image, without its backward pass: published as 0.56 G multiply-adds.
    assert flops['plain'] / 2 / 3 / 2 == pytest.approx(0.555e9, rel=0.01)
    assert flops['ours'] / flops['plain'] == pytest.approx(4.91, abs=0.01)
    # 1x1 convolution of 4 x 512 to 512 channels on 4 x 4 positions instead of one; 2N maps; forward and twice backward.
    saved = 3 * 2 * (2 * 2) * 2048 * 512 * (4 * 4 - 1)
    assert flops['released'] - flops['ours'] == pytest.approx(saved, rel=0.02)


def test_state_is_parameters_buffers_and_momentum():
    model = torch.nn.BatchNorm1d(10)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
    # Weight, bias, running mean and variance of 4 bytes, and a counter of 8.
    assert measure.state_bytes(model, optimizer) == 4 * 40 + 8
    model(torch.rand(4, 10)).sum().backward()
    optimizer.step()
    assert measure.state_bytes(model, optimizer) == 6 * 40 + 8


def test_peak_memory_counts_what_lives_at_the_same_time():
    class Allocating:
        def prepare(self):
            pass

        def __call__(self, batch):
            a = torch.empty(2**20, dtype=torch.uint8)
            b = torch.empty(2**22, dtype=torch.uint8)
            del a, b
            torch.empty(2**21, dtype=torch.uint8)

    peak = measure.peak_bytes_above_start(Allocating(), {}, 'cpu')
    assert peak == pytest.approx(2**20 + 2**22, rel=0.001)


def test_ratios_are_medians_over_rounds():
    """Of the ratio within a round: a slow round is slow for both."""
    times = {'ours': [4.0, 50.0, 6.0], 'plain': [1.0, 10.0, 1.0]}
    assert train_step.median_ratio(times, Variant('ours'), Variant('plain')) == 5
    assert train_step.median_ratio(times, Variant('ours'), Variant('released')) is None


# --- train_step.py -----------------------------------------------------------------------------------------------------


def test_the_table_and_its_json(tmp_path, monkeypatch, capsys):
    """A tiny network in the place of a recipe's."""
    for method in ('baseline', 'mixskd'):
        classes = "model['head'].update(num_classes=100)\ndata_preprocessor = dict(num_classes=100)"
        (tmp_path / f'{method}.py').write_text(tiny.config_text(method=method) + classes)
    network = variants.Network(str(tmp_path / 'mixskd.py'), str(tmp_path / 'baseline.py'), 4, 16)
    monkeypatch.setitem(variants.NETWORKS, 'tiny', network)
    out = tmp_path / 'table.json'
    names = ('plain', 'released', 'ours', 'ours+channels_last+fused+keep_memory+checkpoint')
    arguments = (
        '--network',
        'tiny',
        '--rounds',
        2,
        '--warm-up',
        1,
        '--device',
        'cpu',
        '--out',
        out,
        '--variants',
        *names,
    )
    monkeypatch.setattr(sys, 'argv', ['train_step.py', *map(str, arguments)])
    with tiny.running():
        train_step.main()

    report = json.loads(out.read_text())
    assert (report['batch'], report['size'], report['torch']) == (4, 16, torch.__version__)
    rows = {row['variant']: row for row in report['rows']}
    assert tuple(rows) == names
    for row in rows.values():
        assert len(row['seconds']) == 2
        assert row['images_per_second'] == pytest.approx(4 / row['median_seconds'])
        assert row['flops_per_second'] == pytest.approx(row['flops'] / row['median_seconds'])
    assert rows['plain']['R'] == rows['plain']['flops_ratio'] == rows['released']['released_ratio'] == 1
    ratios = [a / b for a, b in zip(rows['ours']['seconds'], rows['plain']['seconds'], strict=True)]
    assert rows['ours']['R'] == pytest.approx(sum(ratios) / 2)
    # Nothing in this run has its settings.
    assert rows[names[3]]['R'] is None and rows[names[3]]['released_ratio'] is not None
    assert rows['plain']['peak_bytes'] < rows[names[3]]['peak_bytes'] < rows['ours']['peak_bytes']
    printed = capsys.readouterr().out.splitlines()
    assert printed[2:] == report['table'] and len(report['table']) == 2 + len(names)
    assert all(line.count('|') == 12 for line in report['table'])


@pytest.mark.parametrize(
    ('arguments', 'expected'),
    [
        (('--rounds', 0), '--rounds 0: expected 1 or more'),
        (('--warm-up', 0), '--warm-up 0: expected 1 or more'),
        (('--batch', -1), '--batch -1: expected 1 or more'),
        (('--device', 'cpu', '--variants', 'ours+amp'), r'--variants ours+amp: expected --device cuda'),
        (('--variants', 'ours+magic'), '--variants ours+magic: expected one of plain, released, ours'),
    ],
)
def test_wrong_arguments_of_train_step_are_named(arguments, expected, monkeypatch):
    assert expected in tiny.error_of('benchmark/train_step.py', *arguments, monkeypatch=monkeypatch)


# --- data_loading.py ---------------------------------------------------------------------------------------------------


class Slow:
    """A transform that takes a known time."""

    def __init__(self, clock, seconds):
        self.clock, self.seconds = clock, seconds

    def __call__(self, results):
        self.clock.sleep(self.seconds)
        return results


def test_loading_is_timed_and_shared_out_among_the_transforms(tmp_path, monkeypatch):
    clock = Clock()
    monkeypatch.setattr(data_loading, 'time', clock)
    cfg = Config.fromfile(tiny.write_config(tmp_path))
    init_default_scope(cfg.default_scope)
    loader = data_loading.one_core_loader(cfg.train_dataloader)
    assert loader.num_workers == 0 and loader.batch_size == 10
    loader.dataset.full_init()
    transforms = loader.dataset.pipeline.transforms
    transforms[1:1] = [Slow(clock, 0.03)]
    collate = loader.collate_fn
    loader.collate_fn = lambda samples: clock.sleep(0.1) or collate(samples)
    # More than the data set has.
    per_core, shares = data_loading.time_loading(loader, images=60)
    assert per_core == pytest.approx(10 / (10 * 0.03 + 0.1))
    expected = dict(LoadImageFromFile=0, Slow=0.75, RandomCrop=0, PackInputs=0, other=0.25)
    assert list(shares) == list(expected)
    assert shares == pytest.approx(expected)


SHARES = {'LoadImageFromFile': 0.75, 'RandomResizedCrop': 0.2, 'other': 0.05}


@pytest.mark.parametrize(
    ('consumed', 'workers', 'gpus', 'expected'),
    [
        (250, 3, 1, ['The loader keeps up: 3 workers a GPU load 300 images/s.']),
        (
            750,
            3,
            1,
            [
                'The loader is too slow: 3 workers a GPU load 300 images/s.',
                'Set train_dataloader.num_workers=8.',
            ],
        ),
        (
            750,
            0,
            1,
            [
                'The loader is too slow: without workers it loads 100 images/s, and only between the steps.',
                'Set train_dataloader.num_workers=8.',
            ],
        ),
        (
            750,
            8,
            2,
            [
                'The machine is too slow: its 8 cores load 800 images/s, 53% of what 2 GPUs consume; 16 cores would do.',
                'LoadImageFromFile takes 75% of the time: store smaller images; without it a core would load 400 images/s.',
            ],
        ),
    ],
)
def test_advice(consumed, workers, gpus, expected):
    assert data_loading.advice(100, SHARES, consumed, workers, gpus, cores=8) == expected


@pytest.mark.parametrize(
    ('slowest', 'change'),
    [
        ('LoadImageFromNDArray', 'store smaller images'),
        ('RandomResizedCrop', 'use a cheaper transform'),
        ('other', 'let small images live on the GPU (configs/_base_/datasets/cifar100_on_device.py)'),
    ],
)
def test_the_largest_part_decides_what_to_change(slowest, change):
    shares = {'LoadImageFromNDArray': 0.1, 'RandomResizedCrop': 0.1, 'other': 0.1, slowest: 0.8}
    (_, line) = data_loading.advice(100, shares, 1000, workers=1, gpus=1, cores=1)
    assert line == f'{slowest} takes 80% of the time: {change}; without it a core would load 500 images/s.'


def test_what_is_consumed_comes_from_the_fastest_of_our_variants(tmp_path, monkeypatch, capsys):
    rows = [('plain', 900.0), ('ours', 30.0), ('ours+compile', 40.0)]
    step = tmp_path / 'step.json'
    step.write_text(json.dumps(dict(rows=[dict(variant=name, images_per_second=rate) for name, rate in rows])))
    config = tiny.write_config(tmp_path)
    monkeypatch.setattr(sys, 'argv', ['data_loading.py', str(config), '--step', str(step), '--images', '20'])
    with tiny.running():
        data_loading.main()
    assert 'a GPU consumes 40 images/s.' in capsys.readouterr().out


class Whole:
    """A data set that gives batches."""

    def __init__(self, **settings):
        pass

    def __len__(self):
        return 1


@pytest.mark.parametrize(
    ('arguments', 'expected'),
    [
        (('--consumed', 0), '--consumed 0.0: expected images per second > 0'),
        (('--consumed', 10, '--gpus', 0), '--gpus 0: expected 1 or more'),
        (('--step', 'missing.json'), 'missing.json does not exist'),
        (
            ('--consumed', 10, '--cfg-options', 'train_dataloader.dataset.data_root=/nowhere'),
            '/nowhere',
        ),
        (
            ('--consumed', 10, '--cfg-options', 'train_dataloader.dataset.type=Whole'),
            'train_dataloader.dataset.type=Whole has no pipeline',
        ),
    ],
)
def test_wrong_arguments_of_data_loading_are_named(arguments, expected, tmp_path, monkeypatch):
    config = tiny.write_config(tmp_path)
    monkeypatch.setitem(DATASETS.module_dict, 'Whole', Whole)
    assert expected in tiny.error_of('benchmark/data_loading.py', config, *arguments, monkeypatch=monkeypatch)
