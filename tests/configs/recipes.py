"""The recipes as the paper states them (MixSKD, section 4.1 and appendix B.1; Tables 1 to 3), and what builds them."""

from __future__ import annotations

import contextlib
import copy
import functools
import math
from dataclasses import dataclass, replace
from unittest import mock

import tiny
from mmengine.config import Config
from mmengine.dataset import Compose
from mmengine.registry import init_default_scope
from mmpretrain.registry import MODELS
from torch import nn

from mixskd_mm.configs import read_config

CONFIGS = tiny.ROOT / 'configs'
AUGMENTATIONS = ('cutout', 'autoaugment', 'randaugment', 'randomerasing')


@dataclass(frozen=True)
class Network:
    """A backbone with its classifier, and what MixSKD adds to it in training."""

    type: str
    channels: int  # that the classifier reads
    parameters: int  # of backbone and classifier
    stages: int = 4
    auxiliary: tuple[int, int] | None = None  # parameters of the branches (Eq. 1) and of the self-teacher (section 3.4)
    blocks: tuple[int, ...] | None = None  # of a ResNet


@dataclass(frozen=True)
class Recipe:
    """One cell of the paper's tables and the training behind it."""

    method: str
    network: Network
    alpha: float | None  # lam ~ Beta(alpha, alpha)
    dataset: str
    train_split: str
    test_split: str
    num_classes: int
    gpus: int
    batch: int  # of all GPUs
    weight_decay: float
    epochs: int
    images: int  # in the training set
    size: int  # pixels
    mean: tuple[float, float, float]  # of RGB values from 0 to 1
    std: tuple[float, float, float]
    lr: float = 0.1
    momentum: float = 0.9
    warm_up_epochs: int = 5

    @property
    def iters_per_epoch(self) -> int:
        # The sampler gives each GPU the same number of images.
        return math.ceil(math.ceil(self.images / self.gpus) / (self.batch // self.gpus))


def resnet18(parameters: int, type: str = 'ResNet', auxiliary: tuple[int, int] | None = None) -> Network:
    return Network(type, 512, parameters, auxiliary=auxiliary, blocks=(2, 2, 2, 2))


RESNET50 = Network('ResNet', 2048, 25_557_032, auxiliary=(66_457_528, 18_826_216), blocks=(3, 4, 6, 3))
# Appendix A, Tables 1 to 4; "11.2M", "0.7M", "1.1M", "1.1M" in Table 1.
CIFAR_NETWORKS = {
    'r18': resnet18(11_220_132, 'ResNet_CIFAR', auxiliary=(30_060_076, 1_099_876)),
    'wrn16-2': Network('WideResNet_CIFAR', 128, 703_284, 3, auxiliary=(669_860 + 538_340, 62_052)),
    'densenet40-12': Network('DenseNet_CIFAR', 448, 1_060_132, 3, auxiliary=(925_540 + 534_196, 647_012)),
    'hcgnet-a1': Network('HCGNet_CIFAR', 414, 1_102_651, 3, auxiliary=(1_055_563 + 799_717, 555_688)),
}
IMAGENET = Recipe(
    method='baseline',
    network=RESNET50,
    alpha=None,
    dataset='ImageNet',
    train_split='train',
    test_split='val',
    num_classes=1000,
    gpus=8,
    batch=256,
    weight_decay=1e-4,
    epochs=5 + 300,
    images=1_281_167,
    size=224,
    mean=(0.485, 0.456, 0.406),
    std=(0.229, 0.224, 0.225),
)
CIFAR = Recipe(
    method='baseline',
    network=CIFAR_NETWORKS['r18'],
    alpha=None,
    dataset='CIFAR100',
    train_split='train',
    test_split='test',
    num_classes=100,
    gpus=1,
    batch=128,
    weight_decay=5e-4,
    epochs=205,
    images=50_000,
    size=32,
    mean=(0.5071, 0.4867, 0.4408),
    std=(0.2675, 0.2565, 0.2761),
)
# Classes and training images. Table 2's networks are trained from scratch.
FINE_GRAINED = {
    'cub': ('CUB', 200, 5_994),
    'dogs': ('StanfordDogs', 120, 12_000),
    'mit67': ('MITIndoor67', 67, 5_360),
    'cars': ('StanfordCars', 196, 8_144),
    'aircraft': ('FGVCAircraft', 100, 6_667),
}
# alpha of each method, on ImageNet and elsewhere. The paper does not state Manifold Mixup's; the authors' code has 2.
ALPHA = {'mixup': (0.2, 0.4), 'mixskd': (0.2, 0.4), 'manifoldmixup': (0.2, 2.0), 'cutmix': (None, 1.0)}


def resnet18_parameters(num_classes: int) -> int:
    """torchvision's ResNet-18 has 11,689,512 parameters, 513,000 of them in its classifier of 1,000 classes."""
    return 11_689_512 - 513_000 + 513 * num_classes


def recipes() -> dict[str, Recipe]:
    table = {
        f'{method}_r50_imagenet.py': replace(IMAGENET, method=method, alpha=ALPHA.get(method, (None,))[0])
        for method in ('baseline', 'mixup', 'manifoldmixup', 'mixskd')
    }
    # The authors' script, where it differs.
    table['mixskd_r50_imagenet_release.py'] = replace(IMAGENET, method='mixskd', alpha=0.2, batch=128)
    for method in ('baseline', 'mixup', 'manifoldmixup', 'cutmix', 'mixskd', *AUGMENTATIONS):
        for name, network in CIFAR_NETWORKS.items():
            recipe = replace(CIFAR, method=method, network=network, alpha=ALPHA.get(method, (None, None))[1])
            table[f'cifar100/{method}_{name}_cifar100.py'] = recipe
    for method in ('baseline', 'mixup', 'mixskd'):
        for name, (dataset, num_classes, images) in FINE_GRAINED.items():
            table[f'fine_grained/{method}_r18_{name}.py'] = replace(
                IMAGENET,
                method=method,
                network=resnet18(resnet18_parameters(num_classes)),
                alpha=ALPHA.get(method, (None, None))[1],
                dataset=dataset,
                # 6,667 aircraft are those of both training and validation.
                train_split='trainval' if name == 'aircraft' else 'train',
                test_split='test',
                num_classes=num_classes,
                gpus=1,
                batch=32,
                epochs=205,
                images=images,
            )
    return table


RECIPES = recipes()
RELEASE = RECIPES['mixskd_r50_imagenet_release.py']
TYPES = {'mixskd': 'MixSKDClassifier', 'manifoldmixup': 'ManifoldMixupClassifier'}


def build_recipe(name: str, initialise: bool = True):
    """Config and model of a recipe; without ``initialise`` the weights are whatever was in memory, which is faster."""
    cfg = copy.deepcopy(read(name))
    init_default_scope(cfg.default_scope)
    with contextlib.ExitStack() as stack:
        for layer in () if initialise else (nn.Conv2d, nn.Linear):
            stack.enter_context(mock.patch.object(layer, 'reset_parameters', lambda self: None))
        # As the Runner does.
        model = MODELS.build(dict(cfg.model, data_preprocessor=cfg.data_preprocessor))
    if initialise:
        model.init_weights()
    return cfg, model


@functools.cache
def read(name: str) -> Config:
    """Config of a cell: a file, or a method's lines on the baseline of the network or data set in the name."""
    if (CONFIGS / name).is_file():
        return Config.fromfile(CONFIGS / name)
    method, rest = name.split('/')[1].split('_', 1)
    folder = name.split('/')[0]
    files = (f'cifar100/{method}_r18_cifar100.py', f'{folder}/baseline_{rest}')
    return read_config(*(str(CONFIGS / file) for file in files))


def count(module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())


def steps(cfg: Config, loader: str) -> list:
    """The pipeline of a loader's data set as built, without what loads and packs."""
    init_default_scope(cfg.default_scope)
    pipeline = Compose(cfg[loader].dataset.pipeline)
    return [step for step in pipeline.transforms if type(step).__name__ not in ('LoadImageFromFile', 'PackInputs')]
