"""The results that are kept in the repository, and what is made of them."""

import math
import re
from pathlib import Path

import pytest

from mixskd_mm.errors import InputError
from mixskd_mm.reproduction.jobs import list_jobs
from mixskd_mm.reproduction.results import (
    REFERENCES,
    Measurement,
    draw_costs,
    paired_difference,
    read_measurements,
    results_table,
    shown_difference,
    write_measurements,
)

ROOT = Path(__file__).resolve().parents[2]
KEPT = ROOT / 'docs/results/small.json'


def run(row, seed, top1, cost=1e15):
    return Measurement(row, seed, top1, 100, cost, 'c0ffee', '0.1.0+abc', 'a machine')


def test_differences_are_paired_by_seed():
    # Differences 1 and 3: mean 2, sample standard deviation sqrt(2), standard error 1.
    mean, error = paired_difference({0: 11.0, 1: 33.0, 5: 0.0}, {1: 30.0, 0: 10.0, 7: 99.0})
    assert mean == pytest.approx(2)
    assert error == pytest.approx(math.sqrt(2) / math.sqrt(2))
    assert paired_difference({0: 1.0}, {0: 2.0}) is None


def test_bold_is_more_than_twice_the_standard_error():
    assert shown_difference({0: 1.0, 1: 3.0}, {0: 0.0, 1: 0.0}) == '+2.00 ± 1.00'
    assert shown_difference({0: 1.1, 1: 3.0}, {0: 0.0, 1: 0.0}) == '**+2.05 ± 0.95**'
    assert shown_difference({0: 1.0}, {0: 0.0}) == '-'


def test_table():
    runs = [
        run('baseline', 0, 50.0),
        run('baseline', 1, 52.0),
        run('mixskd', 0, 55.0, 4e15),
        run('mixskd', 1, 58.0, 4e15),
    ]
    _, _, baseline, mixskd = results_table('small', runs, ('baseline', 'mixup')).splitlines()
    assert baseline == '| Baseline | 100 | 1.0 | 51.00 ± 1.41 |  | - | 50.00, 52.00 |'
    assert mixskd == '| MixSKD | 100 | 4.0 | 56.50 ± 2.12 | **+5.50 ± 0.50** | - | 55.00, 58.00 |'


def test_kept_as_data(tmp_path):
    runs = [run('mixup', 1, 51.0), run('baseline', 0, 50.0), run('mixup', 0, 52.5)]
    write_measurements(tmp_path / 'new' / 'small.json', 'small', runs)
    assert read_measurements(tmp_path / 'new' / 'small.json') == [runs[1], runs[2], runs[0]]
    assert read_measurements(tmp_path / 'none.json') == []


def test_damaged_data_are_refused_in_one_line(tmp_path):
    (tmp_path / 'small.json').write_text('{"runs": [{"row": "baseline"}]}')
    with pytest.raises(InputError, match=r'small\.json holds no measurements'):
        read_measurements(tmp_path / 'small.json')


def test_picture(tmp_path):
    draw_costs(tmp_path / 'costs.png', 'small', [run('baseline', 0, 50.0), run('baseline', 1, 52.0)])
    assert (tmp_path / 'costs.png').read_bytes().startswith(b'\x89PNG')


def test_the_page_shows_the_kept_data():
    """``python tools/benchmark/results.py`` was run after the data changed."""
    page = (ROOT / 'docs/results.md').read_text(encoding='utf-8')
    (shown,) = re.findall(r'(?s)<!-- table -->\n(.*?)<!-- end -->', page)
    assert shown.strip() == results_table('small', read_measurements(KEPT), REFERENCES)


def test_every_row_trains_with_the_same_data_schedule_and_batch():
    """But for rows whose transforms work image by image, on the same images, and what a method's sampler draws."""
    for job in list_jobs(ROOT / 'configs', 'small', seeds=1):
        cfg = job.config(ROOT / 'configs', ROOT)
        epochs = {5: 500, 1: 100, 0.2: 20}[job.entry.epochs]
        warm_up, cosine = cfg.param_scheduler
        assert cfg.train_cfg.max_epochs == cosine.end == epochs, job.row
        assert warm_up.end == cosine.begin == epochs / 20
        assert cosine.T_max == epochs * 0.95
        assert cfg.train_dataloader.batch_size == 100
        optimizer, clip = cfg.optim_wrapper.optimizer, cfg.optim_wrapper.clip_grad
        assert (optimizer.lr, optimizer.momentum, optimizer.weight_decay, clip.max_norm) == (0.1, 0.9, 5e-4, 5.0)
        loaded = cfg.train_dataloader.dataset
        if loaded.type == 'OnDeviceDataset':
            assert (loaded.padding, loaded.flip_prob) == (2, 0.5)
            loaded = loaded.dataset
        else:
            crop = next(step for step in loaded.pipeline if step['type'] == 'RandomCrop')
            assert (crop['crop_size'], crop['padding']) == (16, 2)
        assert (loaded.type, loaded.images_per_class, loaded.pool, loaded.split) == ('ReducedCIFAR100', 50, 2, 'train')
        backbone = cfg.model.backbone
        assert (backbone.type, backbone.depth) == ('ThinResNet_CIFAR', 20)
