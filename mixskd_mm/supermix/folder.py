"""A folder of mixed images that several processes fill at once and that survives being killed.

::

    settings.json             how the images were made, and where they come from
    images/000012/00001234.png
    batches/000012.json       what is known of the images of a finished batch; written after them
    supermix.jsonl            one line per image, the first ``count`` of all batches; written when there are as many
    sample.png                some images with their sources and masks
    .locks/                   one file per batch; whoever works on it holds the lock, which ends with its process

A batch depends on the settings and its number alone, and an image's name on batch and place, so a batch that is made again
after a kill is made the same.
"""

from __future__ import annotations

import contextlib
import json
import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from mixskd_mm.checkpoints.write import write_image, write_text
from mixskd_mm.errors import InputError
from mixskd_mm.locks import try_lock

SETTINGS, LIST = 'settings.json', 'supermix.jsonl'


class SuperMixFolder:
    """See the module.

    Args:
        path (str): The folder; made if it is missing.
        settings (dict): How the images are made, in JSON's types. Kept as ``settings.json``.
        source (dict): Where they come from, kept beside the settings but not compared: paths and versions.

    Raises:
        InputError: if the folder was made with other settings, holds something else, or cannot be written to.
    """

    def __init__(self, path: str, settings: dict, source: dict) -> None:
        self.path = Path(path)
        self.batch_size = settings['batch_size']
        self._batches: dict[int, dict[str, int]] = {}
        try:
            for folder in ('.locks', 'batches', 'images'):
                (self.path / folder).mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise InputError(f'{path} cannot be made: {error.strerror}') from error
        with self._lock('settings', wait=True):
            if (self.path / SETTINGS).exists():
                check_same(read_json(self.path / SETTINGS)['settings'], settings, self.path / SETTINGS)
            else:
                text = json.dumps(dict(settings=settings, source=source), indent=2) + '\n'
                write_text(str(self.path / SETTINGS), text)

    def _lock(self, name: str, wait: bool = False) -> contextlib.AbstractContextManager[bool]:
        """Hold the lock ``name``, or give False if another process has it."""
        return try_lock(self.path / '.locks' / name, wait)

    def batches(self) -> dict[int, dict[str, int]]:
        """Numbers of each finished batch: images ``tried``, ``kept`` and ``successful``, and ``steps`` of those kept."""
        for file in (self.path / 'batches').glob('[0-9]*.json'):
            if (number := int(file.stem)) not in self._batches:
                batch = read_json(file)
                images = batch['images']
                self._batches[number] = dict(
                    tried=batch['tried'],
                    kept=len(images),
                    successful=sum(image['successful'] for image in images),
                    steps=sum(image['steps'] for image in images),
                )
        return self._batches

    def total(self, name: str) -> int:
        """Sum of one of those numbers over all finished batches."""
        return sum(batch[name] for batch in self.batches().values())

    @contextlib.contextmanager
    def next_batch(self, count: int) -> Iterator[int | None]:
        """The number of the next batch that is needed for ``count`` images, locked; None if others are at work on enough.

        Args:
            count (int): How many images the folder is to have.
        """
        done, expected, number = self.batches(), 0, 0
        while expected < count:
            if number in done:
                expected += done[number]['kept']
            else:
                with self._lock(f'{number:06d}') as mine:
                    # Another process may have finished it since.
                    if mine and not self._record(number).exists():
                        yield number
                        return
                expected += self.batch_size
            number += 1
        yield None

    def write_batch(self, number: int, pictures: Sequence[np.ndarray], records: Sequence[dict], tried: int) -> None:
        """Write a batch: its images, then its record.

        Args:
            number (int): Which batch; its lock is held.
            pictures (Sequence[np.ndarray]): The images to keep, ``(H, W, 3)``, uint8, BGR.
            records (Sequence[dict]): What is known of each; ``index`` names the file.
            tried (int): How many images were mixed.
        """
        folder = f'images/{number:06d}'
        # What a killed process left.
        shutil.rmtree(self.path / folder, ignore_errors=True)
        images = []
        for picture, record in zip(pictures, records, strict=True):
            name = f'{folder}/{record["index"]:08d}.png'
            # The record of its batch is written after it, and waited for.
            write_image(str(self.path / name), picture, flush=False)
            images.append(dict(image=name, **record))
        write_text(str(self._record(number)), json.dumps(dict(tried=tried, images=images)))

    def finish(self, count: int) -> bool:
        """Write the list of the first ``count`` images. Returns False if batches are missing."""
        done, found, number = self.batches(), 0, 0
        while found < count:
            if number not in done:
                return False
            found += done[number]['kept']
            number += 1
        images = [image for i in range(number) for image in read_json(self._record(i))['images']]
        write_text(str(self.path / LIST), ''.join(f'{json.dumps(image)}\n' for image in images[:count]))
        return True

    def _record(self, number: int) -> Path:
        return self.path / 'batches' / f'{number:06d}.json'


def read_json(path: Path) -> dict:
    """Raises InputError if ``path`` is no JSON."""
    try:
        return json.loads(path.read_text(encoding='utf-8'))
    except ValueError as error:
        raise InputError(f'{path} cannot be read: expected what tools/supermix.py wrote') from error


def check_same(old, new, path: Path, name: str = '') -> None:
    """Raise InputError, naming the setting, where the ``new`` settings are not those that the folder was made with."""
    if isinstance(old, dict) and isinstance(new, dict):
        for key in [*old, *(key for key in new if key not in old)]:
            check_same(old.get(key), new.get(key), path, f'{name}.{key}' if name else key)
    elif old != new:
        raise InputError(f'{path} has {name}={old!r}, and now {name}={new!r}: expected the same, or another folder')
