"""Which checkpoint of a work directory to resume from."""

from __future__ import annotations

import re
import zipfile
from pathlib import Path

from mixskd_mm.checkpoints.safe_load import check_archive
from mixskd_mm.errors import InputError

NAME = re.compile(r'(epoch|iter)_(\d+)\.pth')
# Written when a training was told to end; removed when it has written another.
INTERRUPTED = 'interrupted.pth'


def checkpoints(folder: Path) -> list[Path]:
    """The checkpoints in a folder that a training wrote, oldest first, by epoch, then by iteration, then interrupted."""
    found = [
        (match[1] == 'iter', int(match[2]), path)
        for path in folder.glob('*.pth')
        if (match := NAME.fullmatch(path.name))
    ]
    interrupted = folder / INTERRUPTED
    return [path for _, _, path in sorted(found)] + [interrupted] * interrupted.is_file()


def check_new_run(folder: Path) -> None:
    """Raise InputError if a run that starts anew would mix with another one's checkpoints."""
    found = checkpoints(folder)
    if found:
        raise InputError(
            f'{folder} holds checkpoints of an earlier run ({found[-1].name}): expected --resume to continue it, or '
            'another --work-dir'
        )


def latest_checkpoint(folder: Path) -> tuple[Path | None, list[str]]:
    """The newest checkpoint in a folder that is whole.

    mmengine follows the path in the file ``last_checkpoint``, which may be empty after a kill, and leads to another folder
    after this one was moved or copied. Here only its name counts; without one, the highest number does.

    Args:
        folder (Path): Where checkpoints are written.

    Returns:
        tuple: The checkpoint, or None if there is none, and lines about what was not as expected.

    Raises:
        InputError: if there are checkpoints and all are damaged.
    """
    found, notes = checkpoints(folder), []
    if not found:
        return None, []
    pointer = folder / 'last_checkpoint'
    text = pointer.read_text(errors='replace').strip() if pointer.is_file() else ''
    named = folder / Path(text).name if text else None
    if named in found:
        found = found[: found.index(named) + 1]
        if named.name != INTERRUPTED:
            # Higher numbers, or the other kind, would be another run's.
            kind = named.name.split('_')[0]
            found = [path for path in found if path.name.startswith(kind)]
    else:
        notes.append(
            f'{pointer} names no checkpoint of this folder ({text[:200]!r}): {found[-1].name} is the latest here'
        )
    for path in reversed(found):
        try:
            if not zipfile.is_zipfile(path):
                raise InputError(f'checkpoint {path} is cut short or empty')
            check_archive(str(path), str(path))
        except InputError as error:
            notes.append(f'{error}: the one before it is taken')
        else:
            return path, notes
    raise InputError(f'{folder} has no whole checkpoint: all {len(found)} are damaged, the newest is {found[-1].name}')
