"""The quoted numbers, against what the paper's text says of them, and the rows' configs and overrides."""

from __future__ import annotations

import copy
import functools
import statistics
from pathlib import Path

import pytest
import tiny
from mmengine.config import Config
from mmengine.registry import init_default_scope
from mmpretrain.registry import MODELS

from mixskd_mm.reproduction.cells import config_file, recipe
from mixskd_mm.reproduction.jobs import list_jobs
from mixskd_mm.reproduction.tables import CIFAR_NETS, FINE_GRAINED, TABLES

CONFIGS = tiny.ROOT / 'configs'


def mean(table, row, column):
    return float(TABLES[table].rows[row].paper[column].split('±')[0].strip(' *'))


@pytest.mark.parametrize(
    ('other', 'gain'), [('mixup', 1.23), ('cs-kd+mixup', 0.71), ('frskd+mixup', 1.11), ('autoaugment', 1.04)]
)
def test_average_gains_of_table_1(other, gain):
    """Section 4.2."""
    gains = [mean('table1', 'mixskd', net) - mean('table1', other, net) for net in CIFAR_NETS]
    assert statistics.mean(gains) == pytest.approx(gain, abs=0.006)


def test_margins_over_the_second_best_of_table_2():
    """Section 4.2: 2.86, 0.50, 1.99, 2.07 and 1.82."""
    rows = [name for name, row in TABLES['table2'].rows.items() if row.paper and name != 'mixskd']
    margins = [mean('table2', 'mixskd', c) - max(mean('table2', row, c) for row in rows) for c in FINE_GRAINED]
    assert margins == pytest.approx([2.86, 0.50, 1.99, 2.07, 1.82])


def test_margins_of_table_3():
    """Section 4.2: 0.97 on ImageNet, top-5 from Table 3; 0.4 mAP; 1.68, 2.65 and 3.04 mIoU over the second best."""
    for table, margins in [('table3', [0.97, 0.68]), ('table3-transfer', [0.4, 1.68, 2.65, 3.04])]:
        rows, columns = TABLES[table].rows, TABLES[table].numbers or TABLES[table].columns
        best = [max(mean(table, row, c) for row in rows if row != 'mixskd') for c in columns]
        assert [mean(table, 'mixskd', c) - b for c, b in zip(columns, best)] == pytest.approx(margins)


def test_gains_of_table_4():
    """Section 4.3: what each term gives."""
    top1 = {row: mean('table4', row, 'r50') for row in TABLES['table4'].rows}
    for row, base, gain in [
        ('task', 'baseline', 0.60),
        ('feature', 'task', 0.46),
        ('feature+dis', 'feature', 0.33),
        ('b_logit', 'task', 0.38),
        ('h', 'task', 0.55),
        ('logit', 'task', 0.86),
        ('all', 'task', 1.08),
    ]:
        assert top1[row] - top1[base] == pytest.approx(gain), row


def test_the_best_of_table_5_is_the_default():
    for table in ('table5-temperature', 'table5-stage'):
        best = max(TABLES[table].rows, key=lambda row: mean(table, row, 'r50'))
        assert not TABLES[table].rows[best].overrides
    # Section 4.3, FGSM at eps = 0.0001 and 0.1.
    fgsm = TABLES['table5-fgsm'].rows
    assert fgsm['mixskd'].paper == {
        'eps = 0.0001': '67.7',
        'eps = 0.001': '65.5',
        'eps = 0.01': '46.8',
        'eps = 0.1': '15.3',
    }
    assert all(
        float(fgsm['mixskd'].paper[eps]) > float(row.paper[eps])
        for row in fgsm.values()
        if row is not fgsm['mixskd']
        for eps in row.paper
    )


@pytest.mark.parametrize('table', TABLES)
def test_every_cell_has_its_configs(table):
    for job in list_jobs(CONFIGS, table, columns=list(TABLES[table].columns), seeds=1):
        method, baseline = recipe(CONFIGS, TABLES[table].rows[job.row].config, job.column)
        assert Path(method).is_file() and (baseline is None or Path(baseline).is_file())


def test_rows_are_named_as_configs_are():
    for table in TABLES.values():
        for name, row in table.rows.items():
            of_other_lengths = name.removesuffix('-long').removesuffix('-short') if row.epochs != 1 else name
            assert row.config in (of_other_lengths.replace('+', '-'), 'mixskd', 'baseline'), (table.title, name)


def model_of(table, row):
    """The MixSKD classifier of a row, built small on CIFAR-100."""
    cfg = Config.fromfile(CONFIGS / 'cifar100/mixskd_r18_cifar100.py')
    cfg.merge_from_dict(dict(TABLES[table].rows[row].overrides))
    cfg.model.backbone.update(stem_channels=8, base_channels=8)
    cfg.model.head.in_channels = 64
    init_default_scope('mmpretrain')
    return MODELS.build(dict(cfg.model, data_preprocessor=cfg.data_preprocessor))


@pytest.mark.parametrize(
    ('row', 'terms'),
    [
        ('task', ''),
        ('feature', 'feature'),
        ('feature+dis', 'feature dis'),
        ('b_logit', 'b_logit'),
        ('h', 'cls_h f_logit'),
        ('logit', 'b_logit cls_h f_logit'),
        ('all', 'feature dis b_logit cls_h f_logit'),
    ],
)
def test_loss_combinations_of_table_4(row, terms):
    model = model_of('table4', row)
    weights = dict(feature=model.feature_weight, dis=model.dis_weight, **model.logit_weight)
    assert {term for term, weight in weights.items() if weight} == set(terms.split())
    assert set(weights.values()) <= {0, 1}


@pytest.mark.parametrize('column', ['r50', 'r18'])
def test_overrides_fit_the_configs_of_imagenet_and_of_cifar(column):
    read = functools.cache(lambda method: Config.fromfile(CONFIGS / config_file(method, column)))
    for table in ('table4', 'table5-temperature', 'table5-stage'):
        for row in TABLES[table].rows.values():
            cfg = copy.deepcopy(read(row.config))
            cfg.merge_from_dict(dict(row.overrides))
            for key, value in row.overrides.items():
                *path, last = key.split('.')
                part = cfg
                for name in path:
                    part = part[name]
                assert part[last] == value


def test_temperatures_and_stages_of_table_5():
    assert [model_of('table5-temperature', str(t)).temperature for t in range(1, 6)] == [1, 2, 3, 4, 5]
    stages = [model_of('table5-stage', row).teacher_stages for row in ('1', '2', '3', '4', 'all')]
    assert stages == [(1,), (2,), (3,), (4,), (1, 2, 3, 4)]


def test_networks_of_three_stages_have_no_fourth():
    rows = {
        column: [job.row for job in list_jobs(CONFIGS, 'table5-stage', columns=[column], seeds=1)]
        for column in CIFAR_NETS
    }
    assert rows['r18'] == ['1', '2', '3', '4', 'all']
    assert rows['wrn16-2'] == rows['hcgnet-a1'] == ['1', '2', '3', 'all']
