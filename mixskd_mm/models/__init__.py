from .backbones import (
    BottleneckResNet_CIFAR,
    DenseNet_CIFAR,
    HCGNet_CIFAR,
    MobileNet_CIFAR,
    StagedMobileNetV2,
    ThinResNet_CIFAR,
    WideResNet_CIFAR,
)
from .branches import DCMBranches
from .heads import Discriminator, SelfTeacher
from .losses import DiscriminatorLoss, FeatureLoss, KDLoss, MixedCrossEntropyLoss
from .manifold_mixup import ManifoldMixupClassifier
from .mixskd import MixSKDClassifier
from .mixture import Mixture
from .preprocessor import MixupDataPreprocessor
from .stages import AuxiliaryBranch

__all__ = [
    'AuxiliaryBranch',
    'BottleneckResNet_CIFAR',
    'DCMBranches',
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
    'MobileNet_CIFAR',
    'SelfTeacher',
    'StagedMobileNetV2',
    'ThinResNet_CIFAR',
    'WideResNet_CIFAR',
]
