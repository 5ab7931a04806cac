from .auto_augment import CIFARAutoAugment
from .loading import LoadImageFromFile
from .mit_indoor67 import MITIndoor67
from .stanford_dogs import StanfordDogs

__all__ = ['CIFARAutoAugment', 'LoadImageFromFile', 'MITIndoor67', 'StanfordDogs']
