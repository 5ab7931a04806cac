import shutil

import pytest
import tiny
import torch

from mixskd_mm.errors import InputError
from mixskd_mm.resuming.find import check_new_run, latest_checkpoint


@pytest.fixture
def folder(tmp_path):
    """Three checkpoints of one run, and of which it says the last is the second of them."""
    for name in ('epoch_2.pth', 'epoch_9.pth', 'epoch_10.pth'):
        torch.save({'state_dict': {'w': torch.ones(100)}}, tmp_path / name)
    (tmp_path / 'best_accuracy_epoch_11.pth').touch()
    point(tmp_path, tmp_path / 'epoch_9.pth')
    return tmp_path


def point(folder, text):
    (folder / 'last_checkpoint').write_text(str(text))


def spoil(path):
    content = bytearray(path.read_bytes())
    content[content.index(b'\x00\x00\x80\x3f' * 20) + 2] ^= 1
    path.write_bytes(content)


def test_it_is_the_one_that_the_run_wrote_last(folder):
    assert latest_checkpoint(folder) == (folder / 'epoch_9.pth', [])


@pytest.mark.parametrize('text', ['', 'nonsense', '/elsewhere/epoch_3.pth', '\0'])
def test_if_the_run_does_not_say_it_is_the_highest_number(folder, text):
    point(folder, text)
    path, (note,) = latest_checkpoint(folder)
    assert path == folder / 'epoch_10.pth'
    assert note.startswith(f'{folder}/last_checkpoint names no checkpoint of this folder (')
    assert note.endswith('): epoch_10.pth is the latest here')


def test_a_copied_folder_continues_in_itself(folder, tmp_path):
    copy = shutil.copytree(folder, tmp_path / 'copy')
    assert latest_checkpoint(copy) == (copy / 'epoch_9.pth', [])


@pytest.mark.parametrize(
    'damage', [spoil, lambda path: path.write_bytes(b''), lambda path: path.write_bytes(b'PK' * 50)]
)
def test_a_damaged_one_is_named_and_the_one_before_it_is_taken(folder, damage):
    damage(folder / 'epoch_9.pth')
    path, (note,) = latest_checkpoint(folder)
    assert path == folder / 'epoch_2.pth'
    assert note.startswith(f'checkpoint {folder}/epoch_9.pth is ') and note.endswith(': the one before it is taken')


def test_if_all_are_damaged_nothing_is_taken(folder):
    for path in folder.glob('epoch_*.pth'):
        path.write_bytes(b'')
    with pytest.raises(
        InputError, match=f'^{folder} has no whole checkpoint: all 2 are damaged, the newest is epoch_9'
    ):
        latest_checkpoint(folder)


def test_an_empty_folder_has_none(tmp_path):
    assert latest_checkpoint(tmp_path) == (None, [])
    assert latest_checkpoint(tmp_path / 'nosuch') == (None, [])


def test_a_new_run_does_not_start_among_the_checkpoints_of_another(folder, tmp_path):
    with pytest.raises(InputError, match=r'holds checkpoints of an earlier run \(epoch_10.pth\): expected --resume'):
        check_new_run(folder)
    check_new_run(tmp_path / 'nosuch')


@pytest.fixture(scope='module')
def run(tmp_path_factory):
    folder = tmp_path_factory.mktemp('run')
    tiny.train(tiny.make_config(folder / 'run', {'train_cfg.max_epochs': 2}))
    return folder


def error_of(run, folder, *arguments, monkeypatch):
    config = tiny.write_config(run)
    return tiny.error_of('train.py', config, '--work-dir', folder, *arguments, monkeypatch=monkeypatch)


def test_the_tool_says_which_checkpoint_it_takes(run, tmp_path, monkeypatch, capsys):
    folder = shutil.copytree(run / 'run', tmp_path / 'copy')
    spoil_archive(folder / 'epoch_2.pth')
    point(folder, '')
    # It stops when it compares the settings: nothing is trained.
    settings = ('--resume', '--cfg-options', 'optim_wrapper.optimizer.lr=0.5', f'experiment_name={next(tiny.names)}')
    message = error_of(run, folder, *settings, monkeypatch=monkeypatch)
    assert message.startswith(
        f'error: checkpoint {folder}/epoch_1.pth was trained with optim_wrapper.optimizer.lr=0.05'
    )
    said = capsys.readouterr().out
    assert 'last_checkpoint names no checkpoint of this folder' in said and 'epoch_2.pth is damaged' in said


def spoil_archive(path):
    content = path.read_bytes()
    path.write_bytes(content[:5000] + bytes(100) + content[5100:])


def test_the_tool_starts_no_new_run_there(run, monkeypatch):
    message = error_of(run, run / 'run', monkeypatch=monkeypatch)
    assert message == (
        f'error: {run}/run holds checkpoints of an earlier run (epoch_2.pth): expected --resume to continue it, or another '
        '--work-dir'
    )


def test_reset_needs_something_to_resume(run, tmp_path, monkeypatch):
    message = error_of(run, tmp_path / 'new', '--resume', '--reset', 'optim_wrapper', monkeypatch=monkeypatch)
    assert message == 'error: --reset optim_wrapper: expected it with --resume and a checkpoint to continue'


def test_what_was_saved_at_sigterm_is_the_newest_unless_the_run_has_gone_on(folder):
    shutil.copy(folder / 'epoch_10.pth', folder / 'interrupted.pth')
    assert latest_checkpoint(folder) == (folder / 'epoch_9.pth', [])
    point(folder, '/elsewhere/interrupted.pth')
    assert latest_checkpoint(folder) == (folder / 'interrupted.pth', [])
    spoil(folder / 'interrupted.pth')
    path, (note,) = latest_checkpoint(folder)
    assert path == folder / 'epoch_10.pth' and note.startswith(f'checkpoint {folder}/interrupted.pth is ')


def test_a_new_run_does_not_start_over_an_interrupted_one(tmp_path):
    (tmp_path / 'interrupted.pth').touch()
    with pytest.raises(InputError, match=r'holds checkpoints of an earlier run \(interrupted\.pth\)'):
        check_new_run(tmp_path)
