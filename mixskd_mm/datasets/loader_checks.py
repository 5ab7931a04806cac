"""Does the training data loader give what a classifier compares? Asked before the first iteration."""

from __future__ import annotations

from torch.utils.data import DataLoader

from mixskd_mm.errors import InputError

# What a batch can consist of, and how train_dataloader asks for it.
HOW = {
    'images': 'no batch_sampler of this package and a collate_fn such as default_collate',
    'two views': "batch_sampler=dict(type='TwoViewBatchSampler')",
    'pairs': "batch_sampler=dict(type='PairBatchSampler')",
    'groups': "batch_sampler=dict(type='GroupBatchSampler')",
    'natural and mixed images': "batch_sampler=dict(type='NaturalMixedBatchSampler')",
}


def batch_contents(dataloader: DataLoader) -> list[str]:
    """What the loader's batch sampler and collate function, in this order, make of a batch; ``['images']`` if neither does.

    Returns:
        list[str]: Keys of :data:`HOW`; two of them if both do something.
    """
    # mmengine wraps collate functions in partial.
    collate = getattr(dataloader.collate_fn, 'func', dataloader.collate_fn)
    found = [getattr(part, 'contents', None) for part in (dataloader.batch_sampler, collate)]
    return list(filter(None, found)) or ['images']


def check_batches(dataloader: DataLoader, expected: str, classifier: str) -> None:
    """Raise InputError unless batches of a built training loader consist of what a classifier expects.

    Args:
        dataloader (DataLoader): ``runner.train_dataloader``.
        expected (str): A key of :data:`HOW`.
        classifier (str): Its class, for the message.
    """
    found = batch_contents(dataloader)
    if found != [expected]:
        raise InputError(
            f'train_dataloader gives batches of {" of ".join(found)}: {classifier} expects {expected}, so {HOW[expected]}'
        )


def check_sample_indices(dataset, classifier: str) -> None:
    """Raise InputError unless samples say their index in the training set, each another one: ``sample_idx``.

    The first and the last sample are loaded. A wrapper around other data sets passes on what those say, so that its last
    sample says less than its length.

    Args:
        dataset: ``runner.train_dataloader.dataset``, not empty.
        classifier (str): Its class, for the message.
    """
    for i in (0, len(dataset) - 1):
        found = dataset[i]['data_samples'].get('sample_idx')
        if found != i:
            raise InputError(
                f'{type(dataset).__name__} gives sample_idx={found} for image {i} of {len(dataset)}: {classifier} expects '
                "each image's own index, so train_dataloader.dataset=dict(type='IndexedDataset', dataset=...)"
            )
