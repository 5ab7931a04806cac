import os

import pytest

from mixskd_mm.errors import InputError
from mixskd_mm.locks import is_first_process, locked


def test_one_process_at_a_time(tmp_path):
    with (
        locked(tmp_path / 'run'),
        pytest.raises(InputError, match=f'^{tmp_path}/run is being trained by another process'),
        locked(tmp_path / 'run'),
    ):
        pass
    with locked(tmp_path / 'run'), locked(tmp_path / 'run', '.another'):
        pass


def test_a_process_that_is_killed_holds_it_no_longer(tmp_path):
    child = os.fork()
    if child == 0:
        with locked(tmp_path):
            os.kill(os.getpid(), 9)
    assert os.waitpid(child, 0)[1] == 9
    with locked(tmp_path):
        pass


def test_a_folder_that_cannot_be_made_is_named(tmp_path):
    (tmp_path / 'file').touch()
    with pytest.raises(InputError, match=f'^cannot write to {tmp_path}/file/run: '), locked(tmp_path / 'file/run'):
        pass


@pytest.mark.parametrize(('launcher', 'first'), [('none', True), ('pytorch', False), ('slurm', False), ('mpi', True)])
def test_the_rank_is_that_of_the_launcher(monkeypatch, launcher, first):
    for name, rank in {'RANK': '1', 'SLURM_PROCID': '2', 'OMPI_COMM_WORLD_RANK': '0'}.items():
        monkeypatch.setenv(name, rank)
    assert is_first_process(launcher) is first


def test_a_slurm_task_needs_no_variables_of_torchrun(monkeypatch):
    monkeypatch.delenv('RANK', raising=False)
    monkeypatch.setenv('SLURM_PROCID', '1')
    assert not is_first_process('slurm')
