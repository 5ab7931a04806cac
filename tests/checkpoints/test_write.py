import errno
import logging
import os
import signal
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
import tiny
import torch
from matplotlib.figure import Figure
from mmengine.fileio import get_file_backend

from mixskd_mm.checkpoints import write
from mixskd_mm.checkpoints.write import (
    as_bytes,
    check_other_file,
    naming_storage_errors,
    write_figure,
    write_file,
    write_image,
    write_text,
)
from mixskd_mm.errors import InputError


def names(folder):
    return [path.name for path in folder.iterdir()]


def test_written_file_is_complete_and_gets_its_name_after_the_check(tmp_path):
    out = tmp_path / 'new' / 'weights.pth'
    seen = []

    def check(path):
        assert not out.exists()
        seen.append(torch.load(path, weights_only=True)['a'].item())

    write_file(str(out), as_bytes({'a': torch.tensor(3.0)}), check)
    assert seen == [3.0]
    assert torch.load(out, weights_only=True)['a'] == 3.0
    assert names(out.parent) == ['weights.pth']


def test_a_symbolic_link_stays_and_what_it_points_to_is_written(tmp_path):
    (tmp_path / 'store').mkdir()
    (tmp_path / 'link.pth').symlink_to(tmp_path / 'store' / 'weights.pth')
    write_file(str(tmp_path / 'link.pth'), b'new')
    assert (tmp_path / 'link.pth').is_symlink() and (tmp_path / 'store' / 'weights.pth').read_bytes() == b'new'
    assert names(tmp_path / 'store') == ['weights.pth']


def test_a_failed_check_leaves_the_old_file_and_nothing_else(tmp_path):
    out = tmp_path / 'weights.pth'
    out.write_bytes(b'old')

    def check(path):
        raise RuntimeError('differs')

    with pytest.raises(RuntimeError, match='differs'):
        write_file(str(out), b'new', check)
    assert out.read_bytes() == b'old'
    assert names(tmp_path) == ['weights.pth']


@pytest.mark.parametrize('call', ['fsync', 'replace'])
def test_a_full_disk_leaves_the_old_file_and_is_said_with_the_room_that_is_needed(call, tmp_path, monkeypatch):
    def full(*args):
        raise OSError(errno.ENOSPC, 'No space left on device')

    out = tmp_path / 'table.md'
    out.write_text('old')
    monkeypatch.setattr(os, call, full)
    with pytest.raises(InputError) as error:
        write_text(str(out), 'x' * 3 * 2**20)
    message = str(error.value)
    assert message.startswith(f'cannot write {out}: No space left on device (it needs 3.0 MiB; ')
    assert message.endswith(' MiB are free)')
    assert out.read_text() == 'old' and names(tmp_path) == ['table.md']


def test_what_reads_back_otherwise_is_no_file(tmp_path, monkeypatch):
    monkeypatch.setattr(os, 'fsync', lambda handle: os.pwrite(handle, b'?', 5))
    with pytest.raises(InputError, match=r'a\.pth: it reads back otherwise'):
        write_file(str(tmp_path / 'a.pth'), b'0123456789')
    assert names(tmp_path) == []


@pytest.mark.parametrize('size', [0, 1, 4, 5, 8, 9])
def test_every_part_is_compared(size, tmp_path, monkeypatch):
    monkeypatch.setattr(write, 'CHUNK', 4)
    data = bytes(range(size))
    file = tmp_path / 'a'
    file.write_bytes(data)
    write.check_content(str(file), data, 'a')
    for wrong in [data + b'x', data[:-1], *(data[:i] + b'?' + data[i + 1 :] for i in range(size))]:
        if wrong != data:
            file.write_bytes(wrong)
            with pytest.raises(InputError, match='reads back otherwise'):
                write.check_content(str(file), data, 'a')


def test_a_place_that_cannot_be_written_to_is_named(tmp_path):
    (tmp_path / 'file').touch()
    (tmp_path / 'folder').mkdir()
    with pytest.raises(InputError, match=f'^cannot write {tmp_path}/folder: it is a folder'):
        write_text(str(tmp_path / 'folder'), '')
    with pytest.raises(InputError, match=f'^cannot write {tmp_path}/file/a.txt: '):
        write_text(str(tmp_path / 'file/a.txt'), '')
    with pytest.raises(InputError, match='File name too long'):
        write_text(str(tmp_path / ('a' * 300)), '')


KILLED = """
import os, sys
from mixskd_mm.checkpoints import write
os.fsync = lambda handle: os.kill(os.getpid(), 9)
write.write_file(sys.argv[1], b'0123456789')
"""


def test_what_a_killed_process_left_goes_with_the_next_write(tmp_path):
    out = tmp_path / 'a[1].pth'
    process = subprocess.run([sys.executable, '-c', KILLED, str(out)])
    assert process.returncode == -signal.SIGKILL and len(names(tmp_path)) == 1
    seen = []
    write_file(str(out), b'1', lambda path: seen.extend(names(tmp_path)))
    assert len(seen) == 1 and seen[0].endswith('.unfinished')
    assert names(tmp_path) == ['a[1].pth']


def test_what_another_process_is_writing_stays(tmp_path):
    out = str(tmp_path / 'a.pth')
    write_file(out, b'1', lambda path: write_file(out, b'2'))
    assert (tmp_path / 'a.pth').read_bytes() == b'1' and names(tmp_path) == ['a.pth']


def test_what_others_cannot_write_is_said_with_the_place(tmp_path):
    with (
        pytest.raises(
            InputError, match=rf'^cannot write to {tmp_path}: No space left on device \([\d.]+ MiB are free\)$'
        ),
        write.naming_storage_errors(str(tmp_path)),
    ):
        raise OSError(errno.ENOSPC, 'No space left on device')
    with (
        pytest.raises(InputError, match=r'^cannot read or write /a/b\.log: Read-only file system'),
        write.naming_storage_errors('/a'),
    ):
        raise OSError(errno.EROFS, 'Read-only file system', '/a/b.log')
    with pytest.raises(BrokenPipeError), write.naming_storage_errors('/a'):
        raise BrokenPipeError(errno.EPIPE, 'Broken pipe')


def test_mode_is_that_of_any_new_file(tmp_path):
    (tmp_path / 'plain').touch()
    write_file(str(tmp_path / 'written'), b'')
    assert (tmp_path / 'written').stat().st_mode == (tmp_path / 'plain').stat().st_mode


def test_a_figure_has_the_format_of_its_name(tmp_path):
    for name, magic in {'a.png': b'\x89PNG', 'a.pdf': b'%PDF'}.items():
        write_figure(str(tmp_path / name), Figure(figsize=(1, 1)))
        assert (tmp_path / name).read_bytes().startswith(magic)


def test_an_image_has_the_format_of_its_name_and_its_pixels(tmp_path):
    pixels = np.arange(24, dtype=np.uint8).reshape(2, 4, 3)
    write_image(str(tmp_path / 'a.png'), pixels)
    assert np.array_equal(cv2.imread(str(tmp_path / 'a.png')), pixels)
    write_image(str(tmp_path / 'a.bmp'), pixels[..., 0])
    assert (tmp_path / 'a.bmp').read_bytes().startswith(b'BM')


def test_mmengine_writes_its_files_so(tmp_path, monkeypatch):
    written = []
    monkeypatch.setattr(write, 'write_file', lambda out, data: written.append((Path(out).name, bytes(data))))
    backend = get_file_backend(str(tmp_path))
    backend.put(b'1', tmp_path / 'a')
    backend.put_text('ä', str(tmp_path / 'b'))
    tiny.train(tiny.make_config(tmp_path / 'run', {'train_cfg.max_epochs': 1}))
    assert written[:2] == [('a', b'1'), ('b', 'ä'.encode())]
    assert 'epoch_1.pth' in [name for name, _ in written]


def test_what_a_file_is_made_from_is_not_overwritten(tmp_path):
    (tmp_path / 'a.pth').write_bytes(b'weights')
    (tmp_path / 'link.pth').symlink_to(tmp_path / 'a.pth')
    check_other_file(str(tmp_path / 'b.pth'), str(tmp_path / 'a.pth'))
    for out in ('a.pth', 'link.pth'):
        with pytest.raises(InputError, match=rf'{out} is the file .*/a\.pth that it is made from: expected another'):
            check_other_file(str(tmp_path / out), str(tmp_path / 'a.pth'))


def test_a_log_on_a_full_disk_ends_the_run_in_one_line(tmp_path, capsys):
    class Full(logging.StreamHandler):
        def emit(self, record):
            try:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            except OSError:
                self.handleError(record)

    logger = logging.Logger('full')
    logger.addHandler(Full())
    full = pytest.raises(InputError, match=f'^cannot write to {tmp_path}: No space left on device')
    with full, naming_storage_errors(str(tmp_path)):
        logger.warning('loss: 1')
    assert capsys.readouterr().err == ''
