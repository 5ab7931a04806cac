from .densenet import DenseNet_CIFAR
from .hcgnet import HCGNet_CIFAR
from .mobilenet import MobileNet_CIFAR, StagedMobileNetV2
from .thin_resnet import BottleneckResNet_CIFAR, ThinResNet_CIFAR
from .wide_resnet import WideResNet_CIFAR

__all__ = [
    'BottleneckResNet_CIFAR',
    'DenseNet_CIFAR',
    'HCGNet_CIFAR',
    'MobileNet_CIFAR',
    'StagedMobileNetV2',
    'ThinResNet_CIFAR',
    'WideResNet_CIFAR',
]
