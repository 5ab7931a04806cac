"""Images and masks of one's own, for mmseg."""

from __future__ import annotations

from pathlib import Path

from mmseg.datasets import BaseSegDataset

from mixskd_mm.errors import InputError

from .parts import images_below, split


class MaskFolders(BaseSegDataset):
    """Images, and masks of the same names as ``.png``, of which each pixel has the number of its class, or 255 for none.

    Args:
        part (str, optional): ``'train'`` or ``'val'``, of a split by the names of the files. Defaults to None: all images.
        val_fraction (float): Share of ``'val'``. Defaults to 0.2.
        kwargs: Of mmseg's ``BaseSegDataset``.

    Raises:
        InputError: if an image has no mask.
    """

    def __init__(self, part: str | None = None, val_fraction: float = 0.2, **kwargs) -> None:
        self.part, self.val_fraction = part, val_fraction
        super().__init__(seg_map_suffix='.png', **kwargs)

    def load_data_list(self) -> list[dict]:
        """What mmseg has of each image: its path, its mask's, and how labels are changed, which is not at all."""
        images, masks = (Path(self.data_prefix[key]) for key in ('img_path', 'seg_map_path'))
        data = []
        for name in split(images_below(images, images), self.part, self.val_fraction):
            mask = (masks / name).with_suffix('.png')
            if not mask.is_file():
                raise InputError(f'{images / name} has no mask {mask}: expected one for each image')
            data.append(
                dict(
                    img_path=str(images / name),
                    seg_map_path=str(mask),
                    label_map=self.label_map,
                    reduce_zero_label=self.reduce_zero_label,
                    seg_fields=[],
                )
            )
        return data
