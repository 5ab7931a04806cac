from .backbones import DenseNet_CIFAR, HCGNet_CIFAR, ThinResNet_CIFAR, WideResNet_CIFAR
from .heads import BiFPNSelfTeacher, Discriminator, SelfTeacher
from .losses import (
    BAKELoss,
    DiscriminatorLoss,
    DistillationCrossEntropyLoss,
    FeatureLoss,
    FRSKDFeatureLoss,
    HintLoss,
    KDLoss,
    MixedCrossEntropyLoss,
    MMDLoss,
    PSKDLoss,
    SADLoss,
    SmoothedKLLoss,
    TemperedLabelSmoothingLoss,
    VirtualTeacherLoss,
)
from .manifold_mixup import ManifoldMixupClassifier
from .mixskd import MixSKDClassifier
from .mixture import Mixture
from .preprocessor import MixupDataPreprocessor
from .stages import AuxiliaryBranch

__all__ = [
    'AuxiliaryBranch',
    'BAKELoss',
    'BiFPNSelfTeacher',
    'DenseNet_CIFAR',
    'Discriminator',
    'DiscriminatorLoss',
    'DistillationCrossEntropyLoss',
    'FRSKDFeatureLoss',
    'FeatureLoss',
    'HCGNet_CIFAR',
    'HintLoss',
    'KDLoss',
    'MMDLoss',
    'ManifoldMixupClassifier',
    'MixSKDClassifier',
    'MixedCrossEntropyLoss',
    'Mixture',
    'MixupDataPreprocessor',
    'PSKDLoss',
    'SADLoss',
    'SelfTeacher',
    'SmoothedKLLoss',
    'TemperedLabelSmoothingLoss',
    'ThinResNet_CIFAR',
    'VirtualTeacherLoss',
    'WideResNet_CIFAR',
]
