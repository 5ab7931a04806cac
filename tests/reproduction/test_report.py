"""Means, deviations and differences, against numbers worked out by hand."""

from __future__ import annotations

import shutil

import pytest
import tiny

from mixskd_mm.reproduction.budget import Budget
from mixskd_mm.reproduction.jobs import Job, list_jobs
from mixskd_mm.reproduction.report import difference, measured, write_report

CONFIGS = tiny.ROOT / 'configs'


@pytest.fixture
def configs(tmp_path):
    """As if there were no config of FRSKD and CS-KD with Mixup."""
    without = shutil.ignore_patterns('frskd-mixup_*', 'cs-kd-mixup_*')
    return shutil.copytree(CONFIGS, tmp_path / 'configs', ignore=without)


def test_mean_and_sample_deviation():
    assert measured([80.0, 81.0, 83.0]) == '81.33 ± 1.53'  # sqrt((1.33^2 + 0.33^2 + 1.67^2) / 2)
    assert measured([80.0]) == '80.00'
    assert measured([]) == '-'


@pytest.mark.parametrize(
    ('values', 'paper', 'expected'),
    [([80.0, 81.0], '80.32 ± 0.13', '+0.18'), ([77.0], '78.01* ± 0.13', '-1.01'), ([], '78.76', '-'), ([1.0], '', '-')],
)
def test_difference_from_the_paper(values, paper, expected):
    assert difference(values, paper) == expected


def test_a_report(tmp_path, configs):
    jobs = list_jobs(CONFIGS, 'table1', ['mixup', 'cutmix', 'mixskd'], ['r18'], seeds=2, budget=Budget(0.5))
    top1 = {('mixup', 0): 78.0, ('mixup', 1): 79.0, ('mixskd', 0): 80.5}
    results = {
        job: dict(metrics={'accuracy/top1': top1[job.row, job.seed]}, code='1.0+abc', gpus=1)
        for job in jobs
        if (job.row, job.seed) in top1
    }
    markdown, picture = write_report('table1', jobs, results, Budget(0.5), 'reproduce.py table1', tmp_path, configs)
    lines = markdown.read_text().splitlines()
    assert lines[0] == '# Table 1: top-1 accuracy (%) on CIFAR-100, scaled down to 50 % of the epochs'
    assert '## ResNet-18' in lines
    assert '| Mixup | 78.50 ± 0.71 | 78.68 ± 0.12 | -0.18 | 78.00 (seed 0), 79.00 (seed 1) |' in lines
    assert '| MixSKD | 80.50 | 80.32 ± 0.13 | +0.18 | 80.50 (seed 0) |' in lines
    # The paper has no CutMix.
    assert '| CutMix | - | - | - | - |' in lines
    assert '| FRSKD+Mixup | quoted only | 78.74* ± 0.19 | - | - |' in lines
    assert not any(line.startswith('| Cutout') for line in lines)
    assert lines.count('| method | measured | paper | difference | each seed |') == 1
    text = '\n'.join(lines)
    assert '3 of 6 runs are done' in text and 'mixskd_mm 1.0+abc. Command: `reproduce.py table1`' in text
    assert picture.read_bytes().startswith(b'\x89PNG')
    page = (tmp_path / 'table1.html').read_text(encoding='utf-8')
    assert '<td>78.50 ± 0.71</td>' in page and '<img' not in page
    # With the last picture of each training that has one.
    for second in ('1', '2'):
        drawn = tmp_path / jobs[0].folder / second / 'training.png'
        drawn.parent.mkdir(parents=True)
        drawn.write_bytes(second.encode())
    write_report('table1', jobs, results, Budget(0.5), '', tmp_path, configs)
    page = (tmp_path / 'table1.html').read_text(encoding='utf-8')
    assert page.count('<img') == 1 and 'base64,Mg==' in page and f'<summary>{jobs[0].title}</summary>' in page


def test_fgsm_has_a_part_for_each_eps(tmp_path, configs):
    job = Job('table5-fgsm', 'mixskd', 'wrn16-2', 0)
    metrics = {'0.0001': 68.0, '0.001': 66.0, '0.01': 46.0, '0.1': 15.0}
    markdown, _ = write_report(
        'table5-fgsm', [job], {job: dict(metrics=metrics, code='1', gpus=1)}, Budget(), '', tmp_path, configs
    )
    text = markdown.read_text()
    assert '## WRN-16-2, eps = 0.01\n' in text
    assert '| +MixSKD | 46.00 | 46.8 | -0.80 | 46.00 (seed 0) |' in text
    assert '| +MixSKD | 15.00 | 15.3 | -0.30 | 15.00 (seed 0) |' in text
    assert '| +CS-KD+Mixup | quoted only | 13.0 | - | - |' in text
    assert 'eps is in image values from 0 to 1' in text


def test_other_networks_are_not_compared_with_the_papers(tmp_path, configs):
    job = Job('table5-fgsm', 'mixskd', 'r18', 0)
    metrics = {'0.0001': 68.0, '0.001': 66.0, '0.01': 46.0, '0.1': 15.0}
    markdown, _ = write_report(
        'table5-fgsm', [job], {job: dict(metrics=metrics, code='1', gpus=1)}, Budget(), '', tmp_path, configs
    )
    text = markdown.read_text()
    assert '| +MixSKD | 46.00 | - | - | 46.00 (seed 0) |' in text and 'quoted only |' not in text


def test_says_when_the_batch_was_not_the_recipes(tmp_path):
    jobs = list_jobs(CONFIGS, 'table3', ['mixskd'], seeds=1)
    metrics = {'accuracy/top1': 78.0, 'accuracy/top5': 94.0}
    for gpus, said in [(8, False), (4, True)]:
        results = {jobs[0]: dict(metrics=metrics, code='1', gpus=gpus)}
        text = write_report('table3', jobs, results, Budget(), '', tmp_path, CONFIGS)[0].read_text()
        assert ('Trained with 4 process(es) where the recipe has 8 GPUs.' in text) == said
    assert '## ResNet-50, ImageNet, top-5\n' in text and '| +MixSKD | 94.00 | 94.40 | -0.40 | 94.00 (seed 0) |' in text
