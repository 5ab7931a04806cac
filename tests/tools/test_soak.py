"""The soak: its faults strike where they should, and an outcome is counted as what it is."""

import errno
import functools
import os
import pickle
import random
import sys

import pytest
import tiny
import torch

sys.path.append(str(tiny.ROOT / 'tools/soak'))
import damage
import damaged
import disk_full
import kills
import sandbox
import wrong_settings
from changed_settings import Change
from recipe import Reference
from sandbox import Outcome, Result

run = tiny.load_tool('soak/run.py')


@pytest.fixture(scope='module')
def reference(tmp_path_factory):
    return Reference(tmp_path_factory.mktemp('soak'))


def in_a_process(act) -> int:
    """Exit status of ``act`` in a forked process: faults stay planted in the process that planted them."""
    process = os.fork()
    if process == 0:
        status = 70
        try:
            status = act() or 0
        finally:
            os._exit(status)
    return os.waitstatus_to_exitcode(os.waitpid(process, 0)[1])


class TestFaults:
    def test_a_full_disk_takes_what_fits_and_fails_the_write(self, tmp_path):
        (tmp_path / 'old').write_bytes(bytes(10))

        def act():
            sandbox.on_write(tmp_path, 25, disk_full.fail, held=True)
            try:
                (tmp_path / 'new').write_bytes(bytes(20))
            except OSError as error:
                return error.errno

        assert in_a_process(act) == errno.ENOSPC
        assert (tmp_path / 'new').stat().st_size == 15

    def test_a_kill_comes_in_the_byte_that_was_asked_for(self, tmp_path):
        def act():
            sandbox.on_write(tmp_path, 25, lambda: os._exit(9))
            for name in 'abc':
                (tmp_path / name).write_text('x' * 10)

        assert in_a_process(act) == 9
        assert [len((tmp_path / name).read_text()) for name in 'abc'] == [10, 10, 5]

    def test_other_folders_and_text_files_are_as_they_were(self, tmp_path):
        def act():
            sandbox.on_write(tmp_path / 'run', 0, lambda: os._exit(9))
            with (tmp_path / 'log').open('a', encoding='utf-8') as file:
                file.write('größer\n')

        assert in_a_process(act) == 0
        assert (tmp_path / 'log').read_text('utf-8') == 'größer\n'

    def test_a_kill_comes_before_the_second_rename(self, tmp_path):
        def act():
            sandbox.on_rename(tmp_path, 2, lambda: os._exit(9))
            for name in 'ab':
                (tmp_path / name).touch()
                os.replace(tmp_path / name, tmp_path / f'{name}2')

        assert in_a_process(act) == 9
        assert sorted(path.name for path in tmp_path.iterdir()) == ['a2', 'b']

    @pytest.mark.parametrize('way', damage.BYTES)
    def test_damaged_bytes_differ_and_are_those_of_the_seed(self, way):
        data = bytes(range(1, 256)) * 4
        one, other = (damage.BYTES[way](data, random.Random(3)) for _ in range(2))
        assert one == other != data

    @pytest.mark.parametrize('way', damage.CODE)
    def test_malicious_files_run_their_code_where_nothing_refuses_it(self, tmp_path, way):
        path, canary = tmp_path / 'epoch_1.pth', tmp_path / 'canary'
        torch.save(dict(meta={}, state_dict={}, message_hub={}), path)
        damage.CODE[way](path, canary)
        if way == 'a pickle':
            pickle.loads(path.read_bytes())
        else:
            checkpoint = torch.load(path, weights_only=False)
            keys = way.removeprefix('code in ').split('.') if way.startswith('code') else []
            exec(functools.reduce(dict.get, keys, checkpoint) if keys else '')
        assert canary.exists()


class TestOutcomes:
    def test_weights_that_differ_in_one_bit_are_not_identical(self, reference, tmp_path):
        work_dir = tmp_path / 'run'
        last = reference.started(work_dir, 3)
        killed, resumed = Result(-9, '', False), Result(0, 'resumed epoch: 2, iter: 6', False)
        assert kills.judge(9, killed, 2, resumed, work_dir, reference) == Outcome('identical to the bit', True)
        checkpoint = torch.load(last, weights_only=False)
        weight = checkpoint['state_dict']['backbone.conv1.weight'].view(torch.int32)
        weight.view(-1)[0] ^= 1
        torch.save(checkpoint, last)
        assert kills.judge(9, killed, 2, resumed, work_dir, reference) == Outcome('resumed to other weights', False)

    def test_a_lost_checkpoint_counts_though_the_weights_are_identical(self, reference, tmp_path):
        work_dir = tmp_path / 'run'
        reference.started(work_dir, 3)
        killed = Result(-9, 'Saving checkpoint at 1 epochs\nSaving checkpoint at 2 epochs', False)
        outcome = kills.judge(9, killed, 0, Result(0, '', False), work_dir, reference)
        assert outcome.name == 'lost a finished checkpoint' and not outcome.kept

    def test_a_planted_silent_fault_is_counted_as_such(self, reference, tmp_path, monkeypatch):
        """A setting that a run takes without a word, through a real training."""
        path = ('optim_wrapper', 'optimizer', 'lr')
        change = Change('classification', path, 0.04, 'range')
        monkeypatch.setattr(wrong_settings, 'all_changes', lambda *configs: [change])
        fault, outcome = wrong_settings.trial(random.Random(0), tmp_path, dict(classification=reference))
        trials = [run.Trial('settings', 7, fault, outcome)]
        assert outcome == Outcome('accepted silently', False)
        text = run.report(trials, seed=5)
        assert '| settings | accepted silently | 1 | **no** |' in text
        assert '--seed 5 --only settings 7' in text

    @pytest.mark.parametrize(
        'line, expected',
        {
            'error: model.temperature=0: expected a number > 0': 'refused in one line',
            'error: MixSKDClassifier temperature=0: expected a number > 0': 'refused in one line',
            'error: expected a number > 0': 'refused in one line that does not name it',
            'ValueError: temperature=0': 'ended with a traceback',
        }.items(),
    )
    def test_a_refusal_names_the_setting(self, line, expected):
        result = Result(1, f'some log\n{line}\n', False)
        change = Change('classification', ('model', 'temperature'), 0, 'range')
        assert wrong_settings.judge(result, change).name == expected
        harmless = Change('classification', ('model', 'temperature'), 2, 'harmless', wrong=False)
        assert wrong_settings.judge(result, harmless) == Outcome(
            'harmless, but it was refused', False, line if line.startswith('error') else ''
        )

    def test_a_damaged_file_has_to_be_named(self):
        def name(status, output, harmless=False, whole=True):
            return damaged.judge(Result(status, output, False), ('epoch_2.pth',), harmless, whole).name

        assert name(1, 'error: checkpoint /a/epoch_2.pth is damaged') == 'refused in one line'
        assert name(1, 'error: something is damaged') == 'refused in one line that does not name it'
        assert name(0, '') == 'accepted silently'
        assert name(0, '', harmless=True) == 'led to the same as the sound file'
        assert name(0, '', harmless=True, whole=False) == 'went round it silently'
        said = 'WARNING - epoch_2.pth is damaged: epoch_1.pth is taken instead'
        assert name(0, said, harmless=True, whole=False) == 'went round it and said so'
