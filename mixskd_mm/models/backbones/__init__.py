from .densenet import DenseNet_CIFAR
from .hcgnet import HCGNet_CIFAR
from .mobilenet import MobileNet_CIFAR, StagedMobileNetV2
from .mobilenet_v2 import MobileNetV2_CIFAR
from .shake_shake import ShakeShake_CIFAR
from .shufflenet import ShuffleNetV1_CIFAR, ShuffleNetV2_CIFAR
from .thin_resnet import BottleneckResNet_CIFAR, ThinResNet_CIFAR
from .vgg import VGG_CIFAR
from .wide_resnet import WideResNet_CIFAR

__all__ = [
    'VGG_CIFAR',
    'BottleneckResNet_CIFAR',
    'DenseNet_CIFAR',
    'HCGNet_CIFAR',
    'MobileNetV2_CIFAR',
    'MobileNet_CIFAR',
    'ShakeShake_CIFAR',
    'ShuffleNetV1_CIFAR',
    'ShuffleNetV2_CIFAR',
    'StagedMobileNetV2',
    'ThinResNet_CIFAR',
    'WideResNet_CIFAR',
]
