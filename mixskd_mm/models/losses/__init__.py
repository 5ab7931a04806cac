from .adversarial import DiscriminatorLoss, discriminator_loss
from .classification import MixedCrossEntropyLoss, cross_entropy, mixed_cross_entropy
from .distillation import KDLoss, kd_loss
from .feature import FeatureLoss, feature_loss

__all__ = [
    'DiscriminatorLoss',
    'FeatureLoss',
    'KDLoss',
    'MixedCrossEntropyLoss',
    'cross_entropy',
    'discriminator_loss',
    'feature_loss',
    'kd_loss',
    'mixed_cross_entropy',
]
