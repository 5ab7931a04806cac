from .backbones import DenseNet_CIFAR, HCGNet_CIFAR, ThinResNet_CIFAR, WideResNet_CIFAR
from .base import SelfDistillationClassifier
from .heads import Discriminator, SelfTeacher
from .losses import DiscriminatorLoss, FeatureLoss, KDLoss, MixedCrossEntropyLoss
from .methods import *  # noqa: F403
from .methods import __all__ as METHODS
from .mixing import CutMix, MaskMixture, Mixture, Mixup, MixupDataPreprocessor
from .stages import AuxiliaryBranch

__all__ = [
    'AuxiliaryBranch',
    'CutMix',
    'DenseNet_CIFAR',
    'Discriminator',
    'DiscriminatorLoss',
    'FeatureLoss',
    'HCGNet_CIFAR',
    'KDLoss',
    'MaskMixture',
    'MixedCrossEntropyLoss',
    'Mixture',
    'Mixup',
    'MixupDataPreprocessor',
    'SelfDistillationClassifier',
    'SelfTeacher',
    'ThinResNet_CIFAR',
    'WideResNet_CIFAR',
    *METHODS,
]
