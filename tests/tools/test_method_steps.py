"""tools/benchmark/methods.py: the cost of a step of each method."""

import re
import sys

import pytest
import tiny

sys.path.append(str(tiny.ROOT / 'tools/benchmark'))

import methods

from mixskd_mm.errors import InputError

CONFIG = tiny.ROOT / 'configs/cifar100/cs-kd_r18_cifar100.py'


@pytest.fixture
def baseline(tmp_path):
    return tiny.write_config(tmp_path, method='baseline')


def test_prints_a_row_for_each_method(baseline, monkeypatch, capsys):
    steps = []
    monkeypatch.setattr(methods, 'training_step', lambda cfg: cfg)
    monkeypatch.setattr(
        methods, 'ratio_of_times', lambda ours, plain, rounds: steps.append((ours, plain, rounds)) or 1.25
    )
    options = ['--rounds', '3', '--cfg-options', 'model.loss_weight=2.0']
    monkeypatch.setattr(sys, 'argv', ['methods.py', str(CONFIG), '--on', str(baseline), *options])
    methods.main()
    assert capsys.readouterr().out.splitlines()[-1] == '| cs-kd | 1.2 |'
    ((ours, plain, rounds),) = steps
    assert (ours.model.type, ours.model.loss_weight, plain.model.type, rounds) == (
        'CSKDClassifier',
        2.0,
        'ImageClassifier',
        3,
    )


def test_a_step_trains_on_pairs_of_the_loader(baseline, monkeypatch):
    trained = []

    def train_step(model, batch, optim_wrapper):
        before = model.head.fc.weight.clone()
        original(model, batch, optim_wrapper)
        trained.append((len(batch['inputs']), bool((model.head.fc.weight != before).any())))

    classifier = methods.MODELS.get('CSKDClassifier')
    original = classifier.train_step
    monkeypatch.setattr(classifier, 'train_step', train_step)
    step = methods.training_step(methods.read_config(str(CONFIG), str(baseline)))
    for _ in range(5):
        step()
    assert trained == [(20, True)] * 5


def test_wrong_rounds(baseline, monkeypatch):
    monkeypatch.setattr(sys, 'argv', ['methods.py', str(CONFIG), '--on', str(baseline), '--rounds', '0'])
    with pytest.raises(InputError, match=re.escape('--rounds 0: expected 1 or more')):
        methods.main()
