from .auto_augment import CIFARAutoAugment
from .indexed import IndexedDataset
from .loader_checks import check_batches, check_sample_indices
from .loading import LoadImageFromFile
from .mit_indoor67 import MITIndoor67
from .on_device import OnDeviceDataset, whole_batch
from .reduced_cifar100 import ReducedCIFAR100
from .samplers import GroupBatchSampler, NaturalMixedBatchSampler, PairBatchSampler, TwoViewBatchSampler
from .stanford_dogs import StanfordDogs
from .supermix import NaturalAndMixedDataset, SuperMixDataset
from .views import collate_two_views

__all__ = [
    'CIFARAutoAugment',
    'GroupBatchSampler',
    'IndexedDataset',
    'LoadImageFromFile',
    'MITIndoor67',
    'NaturalAndMixedDataset',
    'NaturalMixedBatchSampler',
    'OnDeviceDataset',
    'PairBatchSampler',
    'ReducedCIFAR100',
    'StanfordDogs',
    'SuperMixDataset',
    'TwoViewBatchSampler',
    'check_batches',
    'check_sample_indices',
    'collate_two_views',
    'whole_batch',
]
