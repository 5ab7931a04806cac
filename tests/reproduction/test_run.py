"""What is done, cut off, damaged, of other settings, or being done elsewhere."""

from __future__ import annotations

import json
from unittest import mock

import pytest
import tiny

from mixskd_mm.errors import InputError
from mixskd_mm.reproduction import run
from mixskd_mm.reproduction.jobs import Job
from mixskd_mm.reproduction.run import locked, read_result, run_job


@pytest.fixture
def tools(monkeypatch):
    """In the place of the tools: a training that leaves a checkpoint and a test that measures 70 %."""
    calls = []

    def train(config, folder, *args, **kwargs):
        calls.append('train')
        (folder / 'last_checkpoint').write_text('epoch_205.pth')

    def test(*args):
        calls.append('test')
        return {'accuracy/top1': 70.0}

    monkeypatch.setattr(run, 'train', train)
    monkeypatch.setattr(run, 'test', test)
    loader = mock.Mock(load_checkpoint=lambda *args, **kwargs: dict(meta=dict(mixskd_mm='1.0+abc')))
    monkeypatch.setattr(run, 'CheckpointLoader', loader)
    return calls


JOB = Job('table1', 'mixup', 'r18', 0)


def test_what_is_done_is_not_done_again(tmp_path, tools):
    first = run_job(JOB, tiny.ROOT, tmp_path, gpus=1)
    assert first == dict(metrics={'accuracy/top1': 70.0}, seed=0, gpus=1, code='1.0+abc')
    assert run_job(JOB, tiny.ROOT, tmp_path, gpus=1) == first == read_result(JOB, tiny.ROOT, tmp_path)
    assert tools == ['train', 'test']


def test_a_run_that_left_no_checkpoint_gives_way_to_another(tmp_path, tools):
    """A wrong --data-root must not stand in the way of the right one."""
    wrong = Job('table1', 'mixup', 'r18', 0, data_root='/nowhere')
    with mock.patch.object(run, 'train', side_effect=RuntimeError), pytest.raises(RuntimeError):
        run_job(wrong, tiny.ROOT, tmp_path, gpus=1)
    run_job(JOB, tiny.ROOT, tmp_path, gpus=1)
    assert tools == ['train', 'test'] and '/nowhere' not in (tmp_path / JOB.config_file).read_text()


def test_a_run_with_other_settings_is_left_alone_and_not_reported(tmp_path, tools):
    run_job(JOB, tiny.ROOT, tmp_path, gpus=1)
    other = Job('table1', 'mixup', 'r18', 0, options={'train_dataloader.batch_size': 64})
    for use in (lambda: run_job(other, tiny.ROOT, tmp_path, gpus=1), lambda: read_result(other, tiny.ROOT, tmp_path)):
        with pytest.raises(
            InputError, match='seed0 holds a run with other settings, those of mixup_r18_cifar100_seed0'
        ):
            use()
    assert tools == ['train', 'test']


def test_a_cut_off_test_is_repeated_and_a_training_too_goes_on(tmp_path, tools):
    with mock.patch.object(run, 'test', side_effect=RuntimeError), pytest.raises(RuntimeError):
        run_job(JOB, tiny.ROOT, tmp_path, gpus=1)
    assert read_result(JOB, tiny.ROOT, tmp_path) is None
    run_job(JOB, tiny.ROOT, tmp_path, gpus=1)
    assert tools == ['train', 'train', 'test']


@pytest.mark.parametrize(
    'content', ['{"metrics": {"acc', '[]', '3', '{}', '{"metrics": [1]}', '{"metrics": {"accuracy/top1": "high"}}']
)
def test_a_result_that_is_none_is_named(tmp_path, tools, content):
    run_job(JOB, tiny.ROOT, tmp_path, gpus=1)
    (tmp_path / JOB.folder / 'result.json').write_text(content)
    with pytest.raises(InputError, match=r'result\.json is no result of a run \(.*\): remove it to test again'):
        read_result(JOB, tiny.ROOT, tmp_path)


def test_one_process_at_a_time(tmp_path, tools):
    with locked(tmp_path / JOB.folder), pytest.raises(InputError, match='seed0 is being trained by another process'):
        run_job(JOB, tiny.ROOT, tmp_path, gpus=1)
    assert tools == []
    run_job(JOB, tiny.ROOT, tmp_path, gpus=1)


def test_the_recipe_of_a_result_is_the_config_that_trained_it(tmp_path, tools):
    run_job(JOB, tiny.ROOT, tmp_path, gpus=1)
    assert json.loads((tmp_path / JOB.folder / 'result.json').read_text())['code'] == '1.0+abc'
    assert (tmp_path / JOB.config_file).is_file()
