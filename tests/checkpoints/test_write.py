import pytest
import torch

from mixskd_mm.checkpoints.write import write_checked


def test_written_file_is_complete_and_gets_its_name_after_the_check(tmp_path):
    out = tmp_path / 'new' / 'weights.pth'
    seen = []

    def check(path):
        assert not out.exists()
        seen.append(torch.load(path, weights_only=True)['a'].item())

    write_checked(str(out), {'a': torch.tensor(3.0)}, check)
    assert seen == [3.0]
    assert torch.load(out, weights_only=True)['a'] == 3.0
    assert [path.name for path in out.parent.iterdir()] == ['weights.pth']


@pytest.mark.parametrize('failing', ['check', 'save'])
def test_a_failure_leaves_the_old_file_and_nothing_else(failing, tmp_path):
    out = tmp_path / 'weights.pth'
    out.write_bytes(b'old')

    def save(content, path):
        torch.save(content, path)
        if failing == 'save':
            raise OSError('disk full')

    def check(path):
        raise RuntimeError('differs')

    with pytest.raises((OSError, RuntimeError)):
        write_checked(str(out), {}, check, save)
    assert out.read_bytes() == b'old'
    assert [path.name for path in tmp_path.iterdir()] == ['weights.pth']


def test_mode_is_that_of_any_new_file(tmp_path):
    (tmp_path / 'plain').touch()
    write_checked(str(tmp_path / 'written'), {}, lambda path: None)
    assert (tmp_path / 'written').stat().st_mode == (tmp_path / 'plain').stat().st_mode
