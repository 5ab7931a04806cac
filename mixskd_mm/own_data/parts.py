"""Images in folders of classes, all of them or one part of a reproducible split."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable, Sequence
from pathlib import Path

from mmpretrain.datasets import CustomDataset
from mmpretrain.registry import DATASETS

from mixskd_mm.errors import InputError

PARTS = ('train', 'val')
# How files of images end.
IMAGES = ('.jpg', '.jpeg', '.png', '.ppm', '.bmp', '.pgm', '.tif', '.tiff')


def split(names: Iterable[str], part: str | None, val_fraction: float) -> list[str]:
    """Those of ``names`` that are in one part; all for None. It depends on the names alone, not on their order.

    Args:
        names (Iterable[str]): Of the files of a class, relative to the folder.
        part (str, optional): ``'train'`` or ``'val'``.
        val_fraction (float): Share of the names in ``'val'``, in (0, 1). Of two names or more, each part has at least one.

    Returns:
        list[str]: Sorted.
    """
    if part is None:
        return sorted(names)
    drawn = sorted(names, key=lambda name: hashlib.sha256(name.encode()).digest())
    held_out = min(max(1, round(len(drawn) * val_fraction)), len(drawn) - 1) if drawn else 0
    return sorted(drawn[:held_out] if part == 'val' else drawn[held_out:])


def class_folders(folder: str | os.PathLike) -> list[str]:
    """Names of the folders in ``folder``, sorted; hidden ones are none."""
    return sorted(entry.name for entry in os.scandir(folder) if entry.is_dir() and not entry.name.startswith('.'))


@DATASETS.register_module()
class ClassFolders(CustomDataset):
    """Images below one folder for each class. A label is the place of the folder's name in the list of classes.

    Args:
        classes (Sequence[str], optional): Names of the classes. One may have no folder here. Defaults to None: the folders.
        part (str, optional): ``'train'`` or ``'val'``, of a split of each class by the names of its files. Defaults to None:
            all images.
        val_fraction (float): Share of each class in ``'val'``, in (0, 1). Defaults to 0.2.
        kwargs: Of mmpretrain's ``CustomDataset``, such as ``data_root``, ``data_prefix`` and ``pipeline``.

    Raises:
        InputError: if an argument is out of range, or a folder belongs to none of the classes.
    """

    def __init__(
        self, classes: Sequence[str] | None = None, part: str | None = None, val_fraction: float = 0.2, **kwargs
    ) -> None:
        if part not in (None, *PARTS):
            raise InputError(f'ClassFolders: part={part!r}: expected one of {", ".join(PARTS)}, or None')
        if not 0 < val_fraction < 1:
            raise InputError(f'ClassFolders: val_fraction={val_fraction}: expected a number between 0 and 1')
        self.part, self.val_fraction = part, val_fraction
        kwargs.setdefault('extensions', IMAGES)
        super().__init__(metainfo=dict(classes=tuple(classes)) if classes else None, **kwargs)

    def load_data_list(self) -> list[dict]:
        """``img_path`` and ``gt_label`` of each image, class by class."""
        root = Path(self.img_prefix)
        folders = class_folders(root)
        if self.CLASSES is None:
            self._metainfo['classes'] = tuple(folders)
        labels = {name: label for label, name in enumerate(self.CLASSES)}
        unknown = [name for name in folders if name not in labels]
        if unknown:
            raise InputError(
                f'{root} has a folder {unknown[0]!r}, which is none of the {len(labels)} classes: expected the folders of '
                'the training images'
            )
        data = []
        for name in folders:
            taken = split(images_below(root / name, root, self.extensions), self.part, self.val_fraction)
            data += [dict(img_path=str(root / file), gt_label=labels[name]) for file in taken]
        return data


def images_below(folder: Path, root: Path, extensions: Iterable[str] = IMAGES) -> list[str]:
    """Paths below ``root`` of the files in ``folder``, also behind links, that end with an extension, in any case."""
    suffixes = tuple(extensions)
    return [
        (Path(place) / name).relative_to(root).as_posix()
        for place, _, names in os.walk(folder, followlinks=True)
        for name in names
        if name.lower().endswith(suffixes) and not name.startswith('.')
    ]
