from .densenet import DenseNet_CIFAR
from .hcgnet import HCGNet_CIFAR
from .thin_resnet import ThinResNet_CIFAR
from .wide_resnet import WideResNet_CIFAR

__all__ = ['DenseNet_CIFAR', 'HCGNet_CIFAR', 'ThinResNet_CIFAR', 'WideResNet_CIFAR']
