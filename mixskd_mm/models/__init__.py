from .backbones import DenseNet_CIFAR, HCGNet_CIFAR, ThinResNet_CIFAR, WideResNet_CIFAR
from .heads import Discriminator, SelfTeacher
from .losses import DiscriminatorLoss, FeatureLoss, KDLoss, MixedCrossEntropyLoss
from .manifold_mixup import ManifoldMixupClassifier
from .mixskd import MixSKDClassifier
from .mixture import Mixture
from .preprocessor import MixupDataPreprocessor
from .stages import AuxiliaryBranch

__all__ = [
    'AuxiliaryBranch',
    'DenseNet_CIFAR',
    'Discriminator',
    'DiscriminatorLoss',
    'FeatureLoss',
    'HCGNet_CIFAR',
    'KDLoss',
    'ManifoldMixupClassifier',
    'MixSKDClassifier',
    'MixedCrossEntropyLoss',
    'Mixture',
    'MixupDataPreprocessor',
    'SelfTeacher',
    'ThinResNet_CIFAR',
    'WideResNet_CIFAR',
]
