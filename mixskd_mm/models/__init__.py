from .heads import Discriminator, SelfTeacher
from .losses import DiscriminatorLoss, FeatureLoss, KDLoss, MixedCrossEntropyLoss
from .mixskd import MixSKDClassifier
from .mixture import Mixture
from .preprocessor import MixupDataPreprocessor
from .stages import AuxiliaryBranch

__all__ = [
    'AuxiliaryBranch',
    'Discriminator',
    'DiscriminatorLoss',
    'FeatureLoss',
    'KDLoss',
    'MixSKDClassifier',
    'MixedCrossEntropyLoss',
    'Mixture',
    'MixupDataPreprocessor',
    'SelfTeacher',
]
