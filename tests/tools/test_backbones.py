"""The table of docs/backbones.md: its parameters are those of the networks, its tool measures what it says."""

import re
import sys
from unittest import mock

import pytest
import tiny
from torch import nn

sys.path.append(str(tiny.ROOT / 'tools/benchmark'))

import backbones

from mixskd_mm.errors import InputError

ROWS = re.findall(r'^\| (.+) \| (\d) \| ([\d.]+) M \| ([\d.]+) M \| ([\d.]+) \|$',
                  (tiny.ROOT / 'docs/backbones.md').read_text(), re.MULTILINE)  # fmt: skip


def test_the_documentation_has_all_networks():
    assert [row[0] for row in ROWS] == list(backbones.NETWORKS)


@pytest.mark.parametrize('row', ROWS, ids=lambda row: row[0])
def test_parameters_of_the_documentation(row):
    name, stages, *expected = row[:4]
    # Without drawing weights, which takes most of the time.
    with (
        mock.patch.object(nn.Conv2d, 'reset_parameters', lambda self: None),
        mock.patch.object(nn.Linear, 'reset_parameters', lambda self: None),
    ):
        models = [backbones.build(kind, backbones.NETWORKS[name]) for kind in ('ImageClassifier', 'MixSKDClassifier')]
    assert [f'{sum(p.numel() for p in model.parameters()) / 1e6:.1f}' for model in models] == expected
    assert len(models[1].branches) == int(stages) - 1


def test_the_ratio_is_the_median_of_rounds_after_the_first(monkeypatch):
    now = [0.0]
    monkeypatch.setattr(backbones.time, 'perf_counter', lambda: now[0])

    def step(seconds):
        def run():
            now[0] += seconds.pop(0)

        return run

    ratio = backbones.ratio_of_times(ours=step([90, 4, 9, 10]), plain=step([1, 2, 3, 2]), rounds=3)
    assert ratio == pytest.approx(3)


def test_prints_a_row(monkeypatch, capsys):
    monkeypatch.setattr(backbones, 'NETWORKS', {'tiny': dict(type='ShuffleNetV2', widen_factor=0.5)})
    arguments = ['--networks', 'tiny', '--batch-size', '2', '--image-size', '64', '--rounds', '1']
    monkeypatch.setattr(sys, 'argv', ['backbones.py', *arguments])
    backbones.main()
    assert re.fullmatch(r'\| tiny \| 3 \| 1\.4 M \| [\d.]+ M \| [\d.]+ \|', capsys.readouterr().out.splitlines()[-1])


@pytest.mark.parametrize(
    'arguments, message',
    [
        (['--networks', 'ResNet-51'], r'^--networks ResNet-51: expected some of ResNet-50, '),
        (['--batch-size', '0'], r'^--batch-size 0: expected 1 or more$'),
    ],
)
def test_wrong_arguments(arguments, message, monkeypatch):
    monkeypatch.setattr(sys, 'argv', ['backbones.py', *arguments])
    with pytest.raises(InputError, match=message):
        backbones.main()
