from .auto_augment import CIFARAutoAugment
from .loading import LoadImageFromFile
from .mit_indoor67 import MITIndoor67
from .on_device import OnDeviceDataset, whole_batch
from .stanford_dogs import StanfordDogs

__all__ = ['CIFARAutoAugment', 'LoadImageFromFile', 'MITIndoor67', 'OnDeviceDataset', 'StanfordDogs', 'whole_batch']
