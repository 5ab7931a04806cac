"""What the quickstart says while it trains: the lines of finished runs, and the remaining time."""

import pytest
import tiny


@pytest.fixture
def quickstart(monkeypatch):
    monkeypatch.syspath_prepend(str(tiny.ROOT / 'tools' / 'quickstart'))
    return tiny.load_tool('quickstart/run.py')


def test_remaining_time_comes_from_the_runs_that_have_ended(quickstart, monkeypatch, tmp_path):
    now = [1000.0]
    monkeypatch.setattr(quickstart.time, 'time', lambda: now[0])
    monkeypatch.setattr(quickstart, 'ROOT', tmp_path)
    progress = quickstart.Progress({'a': 3, 'b': 1, 'c': 6}, workers=2)
    lines = []
    progress.say = lines.append
    (tmp_path / 'b').mkdir()
    (tmp_path / 'b' / 'train.log').write_text('Epoch(train) [3][4/4]  lr: 0.1  eta: 0:00:30  time: 0.25  loss: 2\n')
    progress.begin('a', 'a')
    progress.begin('b', 'b')
    assert progress.remaining() is None
    assert progress() == '    a: starting; b: epoch 3, 4/4, 0.25 s/iteration, 0:00:30 left'
    now[0] += 60
    progress.end('a', '97.00 %')
    assert lines == ['  1/3 a: 97.00 % (60 s)']
    # 20 s for each unit: 1 + 6 units are left, of which b may have used its own 20 s; two cores.
    assert progress.remaining() == pytest.approx((140 - 20) / 2)
    progress.begin('c', 'c')
    now[0] += 30
    assert progress.remaining() == pytest.approx((140 - 20 - 30) / 2)
    assert progress().endswith('; all: about 45 s left')


def test_each_run_has_a_title_of_its_own_and_a_cost(quickstart):
    runs = [(method, seed) for method in quickstart.METHODS for seed in quickstart.SEEDS]
    runs += [(task, start) for task in quickstart.TASKS for start in quickstart.STARTS]
    assert len({quickstart.title_of(*run) for run in runs}) == len(runs) == 13
    assert {what for what, _ in runs} == set(quickstart.COSTS)
