"""Rates and remaining times, on a terminal and elsewhere, and where a training is by its log."""

import io
import sys
import threading

import pytest

from mixskd_mm import progress
from mixskd_mm.progress import Watch, duration, track, training_state


class Terminal(io.StringIO):
    def isatty(self):
        return True


def test_lines_where_there_is_no_terminal(monkeypatch, capsys):
    clock = iter([100.0, 110.0, 120.0, 130.0, 140.0])
    monkeypatch.setattr(progress.time, 'monotonic', lambda: next(clock))
    assert list(track('abcd', 'letters')) == list('abcd')
    # One in 20 seconds, and the last.
    assert capsys.readouterr().err.splitlines() == ['letters: 2/4, 0.1/s, 20 s left', 'letters: 4/4, 0.1/s, 0 s left']


def test_a_bar_on_a_terminal(monkeypatch):
    terminal = Terminal()
    monkeypatch.setattr(sys, 'stderr', terminal)
    assert list(track(iter('abc'), '[1] letters', total=3)) == list('abc')
    shown = terminal.getvalue()
    assert '[1] letters' in shown and '3/3' in shown and '/s' in shown


@pytest.mark.parametrize(
    ('seconds', 'text'), [(0, '0 s'), (99, '99 s'), (100, '2 min'), (5900, '98 min'), (12_000, '3 h 20 min')]
)
def test_durations(seconds, text):
    assert duration(seconds) == text


LOG = """\
11/27 10:00:00 - mmengine - INFO - Epoch(train)  [1][ 50/390]  lr: 1.0e-01  eta: 2 days, 1:02:03  time: 0.9  loss: 2
11/27 10:00:01 - mmengine - INFO - Epoch(train) [12][390/390]  lr: 1.0e-01  eta: 0:50:12  time: 0.2134  loss: 2
11/27 10:00:02 - mmengine - INFO - Epoch(val) [12][10/79]    eta: 0:00:10  time: 0.1500  data_time: 0.0012
"""


def test_where_a_training_is(tmp_path):
    log = tmp_path / 'train.log'
    assert training_state(log) == ''
    log.write_text('starting\n')
    assert training_state(log) == ''
    log.write_text(LOG)
    assert training_state(log) == 'epoch 12, 390/390, 0.21 s/iteration, 0:50:12 left'
    log.write_text(LOG.splitlines()[0])
    assert training_state(log) == 'epoch 1, 50/390, 0.9 s/iteration, 2 days, 1:02:03 left'
    log.write_text('x - mmengine - INFO - Iter(train) [ 100/4000]  lr: 1.0e-02  eta: 0:10:00  time: 0.1600  loss: 1\n')
    assert training_state(log) == '100/4000, 0.16 s/iteration, 0:10:00 left'


@pytest.mark.parametrize('terminal', [False, True])
def test_watching_says_what_is_new(monkeypatch, terminal):
    out = Terminal() if terminal else io.StringIO()
    monkeypatch.setattr(sys, 'stdout', out)
    states, seen = iter(['', 'one', 'one', 'two']), threading.Event()

    def state():
        try:
            return next(states)
        except StopIteration:
            seen.set()
            return 'two'

    with Watch(state, interval=0.001) as watch:
        assert seen.wait(60)
        watch.say('done')
    shown = out.getvalue().replace('\r\033[K', '|' if terminal else '?')
    assert shown == ('|one|two|done\n|' if terminal else 'one\ntwo\ndone\n')
