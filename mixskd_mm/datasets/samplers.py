"""Batches for methods that compare images: two views of one image, several images of one class, natural and mixed ones.

They are batch samplers, which add images to those that an ordinary sampler gives, so they go with any data set::

    train_dataloader = dict(
        batch_size=128,
        sampler=dict(type='DefaultSampler', shuffle=True),
        batch_sampler=dict(type='PairBatchSampler'),
    )

Here an image that the sampler gives is called an anchor. The sampler divides the anchors among the ranks, and an anchor's
partners are drawn on its rank, so a pair or group stays on one rank and all ranks have the same number of batches. An image
that a data set such as RepeatDataset repeats counts as several images.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from mmpretrain.registry import DATA_SAMPLERS
from torch.utils.data import BatchSampler, Sampler

from mixskd_mm.errors import InputError


class AnchorBatchSampler(Sampler):
    """Batches of anchors and, after them, the images that :meth:`partners` adds.

    Partners are drawn from (seed of the sampler, rank, epoch), anew in each epoch if something calls the sampler's
    ``set_epoch``, as mmengine's ``DistSamplerSeedHook`` does. A resumed run draws what the uninterrupted one would have.

    Args:
        sampler (Sampler): Gives the anchors; mmengine's ``DefaultSampler`` or one with the same attributes.
        batch_size (int): What the recipe's batch counts, see the subclasses.
        num_anchors (int): Anchors per batch; the last batch of an epoch may have fewer.
        drop_last (bool): Whether to leave out a last batch with fewer anchors.
    """

    # What a batch consists of; classifiers ask for it.
    contents: str

    def __init__(self, sampler: Sampler, batch_size: int, num_anchors: int, drop_last: bool) -> None:
        self.sampler = sampler
        self.batch_size = batch_size
        self.anchors = BatchSampler(sampler, num_anchors, drop_last)

    def partners(self, anchors: list[int], rng: np.random.Generator) -> list[int]:
        """The images, by index, that follow the anchors of a batch."""
        raise NotImplementedError

    def __iter__(self) -> Iterator[list[int]]:
        # Samplers of loops that count iterations have no epoch. The letters keep this stream apart from other draws.
        epoch = getattr(self.sampler, 'epoch', 0)
        rng = np.random.default_rng([self.sampler.seed, self.sampler.rank, epoch, *b'partners'])
        for anchors in self.anchors:
            yield anchors + self.partners(anchors, rng)

    def __len__(self) -> int:
        return len(self.anchors)


@DATA_SAMPLERS.register_module()
class TwoViewBatchSampler(AnchorBatchSampler):
    """N images, then the same N images in the same order: two views of each (DDGSD, Xu and Liu, AAAI 2019).

    The data set is asked twice for each image, so its whole pipeline runs twice, with independent random numbers. Where
    decoding is the cost, ``MultiView`` with :func:`collate_two_views` decodes once.

    Args:
        sampler (Sampler): Gives the images.
        batch_size (int): N; a batch has 2N views.
        drop_last (bool): Whether to leave out a smaller last batch. Defaults to False.
    """

    contents = 'two views'

    def __init__(self, sampler: Sampler, batch_size: int, drop_last: bool = False) -> None:
        super().__init__(sampler, batch_size, batch_size, drop_last)

    def partners(self, anchors: list[int], rng: np.random.Generator) -> list[int]:
        return anchors


@DATA_SAMPLERS.register_module()
class PairBatchSampler(AnchorBatchSampler):
    """B anchors, then for each of them, in the same order, an image of its class (CS-KD, Yun et al., CVPR 2020).

    The partner is drawn uniformly from the class, the anchor itself included. In a class of one image it is the anchor.

    Args:
        sampler (Sampler): Gives the anchors; its ``dataset`` has one label per image.
        batch_size (int): B, the anchors; a batch has 2B images.
        drop_last (bool): Whether to leave out a smaller last batch. Defaults to False.

    Raises:
        InputError: if an image has no label, or several.
    """

    contents = 'pairs'

    def __init__(self, sampler: Sampler, batch_size: int, drop_last: bool = False) -> None:
        super().__init__(sampler, batch_size, batch_size, drop_last)
        self.labels = image_labels(sampler.dataset)
        self.members = members_of_classes(self.labels)

    def partners(self, anchors: list[int], rng: np.random.Generator) -> list[int]:
        classes = [self.members[self.labels[anchor]] for anchor in anchors]
        return [int(members[rng.integers(len(members))]) for members in classes]


@DATA_SAMPLERS.register_module()
class GroupBatchSampler(AnchorBatchSampler):
    """Anchors, then M other images of the class of the first anchor, of the second, ... (BAKE, Ge et al., 2021).

    The M partners differ from each other if the class is large enough; otherwise they are drawn with replacement from its
    other images. A class of one image has no others, so the anchor is repeated M times; the authors' code stops there.
    An epoch has each image once as anchor, so M + 1 times as many images as the data set.

    Args:
        sampler (Sampler): Gives the anchors; its ``dataset`` has one label per image.
        batch_size (int): All N images of a batch, as in the authors' settings: N / (M + 1) anchors and their partners.
        num_partners (int): M. Defaults to 3, the authors' value for CIFAR-100 and CUB; it is 1 for the others.
        drop_last (bool): Whether to leave out a smaller last batch. Defaults to False.

    Raises:
        InputError: if ``num_partners`` is no integer >= 1 or N is no multiple of M + 1; if an image has no label, or
            several.
    """

    contents = 'groups'

    def __init__(self, sampler: Sampler, batch_size: int, num_partners: int = 3, drop_last: bool = False) -> None:
        if type(num_partners) is not int or num_partners < 1:
            raise InputError(f'GroupBatchSampler num_partners={num_partners!r}: expected an integer >= 1')
        num_anchors, rest = divmod(batch_size, num_partners + 1)
        if rest:
            raise InputError(
                f'train_dataloader.batch_size={batch_size}: expected a multiple of {num_partners + 1}, since '
                f'GroupBatchSampler counts anchors and their num_partners={num_partners} partners'
            )
        super().__init__(sampler, batch_size, num_anchors, drop_last)
        self.num_partners = num_partners
        self.labels = image_labels(sampler.dataset)
        self.members = members_of_classes(self.labels)

    def partners(self, anchors: list[int], rng: np.random.Generator) -> list[int]:
        return [partner for anchor in anchors for partner in self.partners_of(anchor, rng)]

    def partners_of(self, anchor: int, rng: np.random.Generator) -> list[int]:
        """M images of the anchor's class."""
        members = self.members[self.labels[anchor]]
        others = members[members != anchor]
        if not len(others):
            return [anchor] * self.num_partners
        return rng.choice(others, self.num_partners, replace=len(others) < self.num_partners).tolist()


@DATA_SAMPLERS.register_module()
class NaturalMixedBatchSampler(AnchorBatchSampler):
    """N natural images, then N mixed ones, drawn from all of them without repeating one in the batch (SuperMix).

    Args:
        sampler (Sampler): Gives the natural images; its ``dataset`` is a ``NaturalAndMixedDataset``.
        batch_size (int): N; a batch has 2N images.
        drop_last (bool): Whether to leave out a smaller last batch. Defaults to False.

    Raises:
        InputError: if the data set has no mixed images.
    """

    contents = 'natural and mixed images'

    def __init__(self, sampler: Sampler, batch_size: int, drop_last: bool = False) -> None:
        super().__init__(sampler, batch_size, batch_size, drop_last)
        mixed = getattr(sampler.dataset, 'mixed', None)
        if not mixed:
            raise InputError(
                f'NaturalMixedBatchSampler got a {type(sampler.dataset).__name__} without mixed images: expected '
                "dataset=dict(type='NaturalAndMixedDataset', datasets=[natural, mixed])"
            )
        self.mixed = mixed

    def partners(self, anchors: list[int], rng: np.random.Generator) -> list[int]:
        chosen = rng.choice(len(self.mixed), len(anchors), replace=len(anchors) > len(self.mixed))
        return [self.mixed[i] for i in chosen.tolist()]


def image_labels(dataset) -> list[int]:
    """Class index of each image of a data set or of a wrapper around some, from the annotations: no image is loaded.

    Raises:
        InputError: if an image has no label, or several.
    """
    labels = [dataset.get_data_info(i).get('gt_label') for i in range(len(dataset))]
    for i, label in enumerate(labels):
        if not isinstance(label, int | np.integer):
            raise InputError(
                f'{type(dataset).__name__} has the label {label!r} for image {i}: expected one class index per image'
            )
    return labels


def members_of_classes(labels: list[int]) -> dict[int, np.ndarray]:
    """The indices of the images of each class."""
    order = np.argsort(labels, kind='stable')
    classes, starts = np.unique(np.asarray(labels)[order], return_index=True)
    return dict(zip(classes.tolist(), np.split(order, starts[1:]), strict=True))
