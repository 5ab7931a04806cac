"""The mixed images that tools/supermix.py makes, and batches of natural and mixed ones."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence

import mmcv
import numpy as np
from mmpretrain.datasets import BaseDataset
from mmpretrain.registry import DATASETS

from mixskd_mm.errors import InputError

LABELS = ('supervisor', 'soft')


@DATASETS.register_module()
class SuperMixDataset(BaseDataset):
    """Mixed images (SuperMix, Dabouei et al., CVPR 2021), in the channel order of the images that they were mixed from.

    The pipeline gets images, not files, so it has no step that loads them.

    Args:
        data_root (str): The folder that tools/supermix.py filled.
        labels (str): ``'supervisor'``: the class that the supervisor gives the mixed image, as in the authors' code; or
            ``'soft'``: also the classes of the sources with their shares, q, as ``gt_score``. Defaults to ``'supervisor'``.
        pipeline (Sequence[dict]): What is done with an image. Defaults to ().
        kwargs: Other arguments of mmpretrain's ``BaseDataset``, such as ``indices``.

    Raises:
        InputError: if the folder is missing or not complete, or ``labels`` is something else.
    """

    def __init__(self, data_root: str, labels: str = 'supervisor', pipeline: Sequence[dict] = (), **kwargs) -> None:
        if labels not in LABELS:
            raise InputError(f'SuperMixDataset labels={labels!r}: expected one of {", ".join(map(repr, LABELS))}')
        self.labels = labels
        for name in ('settings.json', 'supermix.jsonl'):
            if not os.path.isfile(os.path.join(data_root, name)):
                raise InputError(
                    f'SuperMixDataset: {data_root} has no {name}: expected a folder that tools/supermix.py filled'
                )
        with open(os.path.join(data_root, 'settings.json'), encoding='utf-8') as file:
            settings = json.load(file)['settings']
        self.num_classes = settings['num_classes']
        self.channel_order = settings['channel_order']
        metainfo = dict(classes=settings['class_names']) if settings['class_names'] else {}
        super().__init__(ann_file='supermix.jsonl', metainfo=metainfo, data_root=data_root, pipeline=pipeline, **kwargs)

    def load_data_list(self) -> list[dict]:
        """``img_path`` and ``gt_label`` of each image; for soft labels also ``classes`` and ``weights``."""
        with open(self.ann_file, encoding='utf-8') as file:
            images = [json.loads(line) for line in file]
        infos = []
        for image in images:
            info = dict(img_path=os.path.join(self.data_root, image['image']), gt_label=image['supervisor'])
            if self.labels == 'soft':
                info.update(classes=image['classes'], weights=image['weights'])
            infos.append(info)
        return infos

    def prepare_data(self, idx: int) -> dict:
        """One image through the pipeline."""
        info = self.get_data_info(idx)
        if self.labels == 'soft':
            # q: shares of equal classes add up.
            score = np.zeros(self.num_classes, dtype=np.float32)
            np.add.at(score, info.pop('classes'), info.pop('weights'))
            info['gt_score'] = score
        try:
            info['img'] = mmcv.imread(info['img_path'], channel_order=self.channel_order)
        except FileNotFoundError:
            info['img'] = None
        if info['img'] is None:
            raise InputError(f'{info["img_path"]} cannot be read: expected the image that tools/supermix.py wrote')
        info['img_shape'] = info['ori_shape'] = info['img'].shape[:2]
        return self.pipeline(info)


@DATASETS.register_module()
class NaturalAndMixedDataset:
    """A training set and its mixed images, for ``NaturalMixedBatchSampler``, which takes as many of each.

    An epoch is one of the natural images: they are the first ``len(self)`` indices, which samplers shuffle. After them come
    the mixed ones, ``mixed``.

    Args:
        datasets (Sequence[dict]): The natural images, then a ``SuperMixDataset``.

    Raises:
        InputError: if there are not two data sets, or they have other classes.
    """

    def __init__(self, datasets: Sequence[dict]) -> None:
        if len(datasets) != 2:
            raise InputError(
                f'NaturalAndMixedDataset got {len(datasets)} datasets: expected two, of natural and of mixed images'
            )
        self.datasets = [DATASETS.build(one) if isinstance(one, dict) else one for one in datasets]

    def full_init(self) -> None:
        """Read the annotations of both."""
        for one in self.datasets:
            one.full_init()
        classes = [list(one.metainfo.get('classes') or ()) for one in self.datasets]
        if all(classes) and classes[0] != classes[1]:
            raise InputError(
                f'NaturalAndMixedDataset: the mixed images have {len(classes[1])} classes, from {classes[1][0]!r}, and the '
                f'natural ones {len(classes[0])}, from {classes[0][0]!r}: expected the same'
            )

    @property
    def metainfo(self) -> dict:
        """Of the natural images."""
        return self.datasets[0].metainfo

    @property
    def mixed(self) -> range:
        """Indices of the mixed images."""
        return range(len(self), len(self) + len(self.datasets[1]))

    def __len__(self) -> int:
        return len(self.datasets[0])

    def _find(self, i: int) -> tuple:
        """Data set and index in it."""
        return (self.datasets[0], i) if i < len(self) else (self.datasets[1], i - len(self))

    def get_data_info(self, i: int) -> dict:
        """Annotation of one image."""
        dataset, index = self._find(i)
        return dataset.get_data_info(index)

    def __getitem__(self, i: int) -> dict:
        dataset, index = self._find(i)
        return dataset[index]
