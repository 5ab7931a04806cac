"""Batches that several processes write, that are killed, and that make up one list."""

import itertools
import json
import multiprocessing
import os
import signal
import time

import cv2
import numpy as np
import pytest

from mixskd_mm.errors import InputError
from mixskd_mm.supermix.folder import SuperMixFolder

SETTINGS = dict(batch_size=4, seed=0, masks=dict(sigma=1.0))


def open_folder(path, settings=SETTINGS):
    return SuperMixFolder(str(path), settings, source=dict(config='a.py'))


def picture(index):
    return np.full((2, 2, 3), index, np.uint8)


def write(folder, number, kept=3):
    """A batch of which ``kept`` images succeeded."""
    indices = [4 * number + i for i in range(kept)]
    records = [dict(index=i, successful=True, steps=i) for i in indices]
    folder.write_batch(number, [picture(i) for i in indices], records, tried=4)


def fill(folder, count):
    """What a process does; returns the numbers of its batches."""
    numbers = []
    while not folder.finish(count):
        with folder.next_batch(count) as number:
            if number is None:
                time.sleep(0.01)
            else:
                write(folder, number)
                numbers.append(number)
    return numbers


def listed(path):
    return [json.loads(line) for line in (path / 'supermix.jsonl').read_text().splitlines()]


def test_the_list_is_the_first_images_of_all_batches(tmp_path):
    folder = open_folder(tmp_path)
    assert fill(folder, 8) == [0, 1, 2]
    assert [image['index'] for image in listed(tmp_path)] == [0, 1, 2, 4, 5, 6, 8, 9]
    for image in listed(tmp_path):
        assert image['image'] == f'images/{image["index"] // 4:06d}/{image["index"]:08d}.png'
        assert np.array_equal(cv2.imread(str(tmp_path / image['image'])), picture(image['index']))
    assert {name: folder.total(name) for name in ('tried', 'kept', 'successful', 'steps')} == dict(
        tried=12, kept=9, successful=9, steps=0 + 1 + 2 + 4 + 5 + 6 + 8 + 9 + 10
    )


def test_more_images_continue_and_fewer_shorten_the_list(tmp_path):
    fill(open_folder(tmp_path), 5)
    assert fill(open_folder(tmp_path), 8) == [2]
    assert fill(open_folder(tmp_path), 2) == []
    assert [image['index'] for image in listed(tmp_path)] == [0, 1]


def test_a_batch_belongs_to_one_at_a_time(tmp_path):
    one, other = open_folder(tmp_path), open_folder(tmp_path)
    with one.next_batch(8) as first, other.next_batch(8) as second:
        assert (first, second) == (0, 1)
        # Eight are on their way, if all succeed.
        with open_folder(tmp_path).next_batch(8) as third:
            assert third is None
        assert not other.finish(8)
        write(other, 1)
        # Three of four did: another batch is needed.
        with open_folder(tmp_path).next_batch(8) as third:
            assert third == 2
    with other.next_batch(8) as again:
        assert again == 0


def worker(path, count, queue):
    queue.put(fill(open_folder(path), count))


def test_processes_share_the_batches(tmp_path):
    context = multiprocessing.get_context('fork')
    queue = context.Queue()
    workers = [context.Process(target=worker, args=(tmp_path, 60, queue)) for _ in range(3)]
    for process in workers:
        process.start()
    numbers = [queue.get(timeout=60) for _ in workers]
    for process in workers:
        process.join()
    # None was made twice, and not one too many.
    assert sorted(itertools.chain(*numbers)) == list(range(20))
    alone = tmp_path / 'alone'
    fill(open_folder(alone), 60)
    assert listed(tmp_path) == listed(alone)


def hang(path):
    folder = open_folder(path)
    with folder.next_batch(8) as number:
        write(folder, number)
        (path / 'batches' / f'{number:06d}.json').unlink()
        (path / 'images' / f'{number:06d}' / '.00000001.png.half').write_bytes(b'half')
        (path / 'ready').touch()
        time.sleep(60)


def test_a_killed_process_leaves_nothing_behind(tmp_path):
    process = multiprocessing.get_context('fork').Process(target=hang, args=(tmp_path,))
    process.start()
    deadline = time.monotonic() + 30
    while not (tmp_path / 'ready').exists():
        assert time.monotonic() < deadline
        time.sleep(0.01)
    os.kill(process.pid, signal.SIGKILL)
    process.join()
    assert fill(open_folder(tmp_path), 6) == [0, 1]
    assert sorted(os.listdir(tmp_path / 'images' / '000000')) == ['00000000.png', '00000001.png', '00000002.png']


def test_other_settings_are_refused(tmp_path):
    open_folder(tmp_path)
    open_folder(tmp_path)
    for settings, message in (
        (dict(SETTINGS, seed=1), 'seed=0, and now seed=1'),
        (dict(SETTINGS, masks=dict(sigma=2.0)), 'masks.sigma=1.0, and now masks.sigma=2.0'),
        (dict(SETTINGS, device='cpu'), "device=None, and now device='cpu'"),
    ):
        with pytest.raises(InputError) as error:
            open_folder(tmp_path, settings)
        assert str(error.value) == (f'{tmp_path}/settings.json has {message}: expected the same, or another folder')


def test_a_place_that_is_no_folder_is_refused(tmp_path):
    (tmp_path / 'file').touch()
    with pytest.raises(InputError, match='file cannot be made: '):
        open_folder(tmp_path / 'file')
    open_folder(tmp_path / 'folder')
    (tmp_path / 'folder' / 'settings.json').write_text('{')
    with pytest.raises(InputError, match=r'settings.json cannot be read: expected what tools/supermix.py wrote$'):
        open_folder(tmp_path / 'folder')
