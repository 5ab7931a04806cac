"""The recipes as the paper states them (MixSKD, section 4.1 and appendix B.1; Tables 1 to 3): what ``facts`` has to find.

A method that is not named here has the data, schedule, batch, optimiser and initial network of its baseline.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import pytest
import tiny

from mixskd_mm.reproduction.cells import config_file
from mixskd_mm.reproduction.jobs import Job, list_jobs
from mixskd_mm.reproduction.tables import CIFAR_NETS, FINE_GRAINED, R50

CONFIGS = tiny.ROOT / 'configs'

MIXSKD = dict(
    classifier='MixSKDClassifier',
    mixture=('Mixup', 0.4),
    temperature=3,
    clean_weight=2,
    mixed_weight=1,
    feature_weight=1,
    dis_weight=1,
    logit_weight=dict(b_logit=1, cls_h=1, f_logit=1),
)
PLAIN = dict(classifier='ImageClassifier', mixture=None)
# What a method has otherwise than its baseline, and what it has of its own. `before` and `after` are transforms, before and
# after crop and flip. The paper does not state Manifold Mixup's alpha; the authors' code has 2.
METHODS = {
    'baseline': PLAIN,
    'cutout': dict(PLAIN, after=('Cutout',)),
    'autoaugment': dict(PLAIN, after=('CIFARAutoAugment',)),
    'randaugment': dict(PLAIN, before=('NumpyToPIL', 'RandAugment', 'PILToNumpy')),
    'randomerasing': dict(PLAIN, after=('RandomErasing',)),
    'mixup': dict(PLAIN, mixture=('Mixup', 0.4), mixes_here=True),
    'cutmix': dict(PLAIN, mixture=('CutMix', 1.0), mixes_here=True),
    'manifoldmixup': dict(classifier='ManifoldMixupClassifier', mixture=('Mixup', 2.0), mixes_here=False),
    'ddgsd': dict(batch_sampler=dict(type='TwoViewBatchSampler')),
    'cs-kd': dict(batch_sampler=dict(type='PairBatchSampler')),
    'cs-kd-mixup': dict(batch_sampler=dict(type='PairBatchSampler'), mixture=('Mixup', 0.4)),
    'bake': dict(batch_sampler=dict(type='GroupBatchSampler', num_partners=3)),
    'frskd': dict(classifier='FRSKDClassifier', mixture=None),
    'frskd-mixup': dict(classifier='FRSKDClassifier', mixture=('Mixup', 0.2), mixes_here=False),
    'mixskd': dict(MIXSKD, mixes_here=False),
    'mixskd-cutmix': dict(MIXSKD, mixture=('CutMix', 1.0)),
    'mixskd-mixup-cutmix': dict(MIXSKD, mixture=(('Mixup', 0.4, 0.5), ('CutMix', 1.0, 0.5))),
}
# What only one file has otherwise than its method.
FILES = {
    'mixup_r50_imagenet.py': dict(mixture=('Mixup', 0.2)),
    'manifoldmixup_r50_imagenet.py': dict(mixture=('Mixup', 0.2)),
    'mixskd_r50_imagenet.py': dict(mixture=('Mixup', 0.2)),
    # The authors' script.
    'mixskd_r50_imagenet_release.py': dict(
        mixture=('Mixup', 0.2),
        clean_weight=1,
        dis_weight=0.25,
        batch=128,
        recipe_batch=128,
        iters_per_epoch=math.ceil(1_281_167 / 128),
        schedule='warm-up over 5 epochs, cosine over 300 that changes once per epoch',
    ),
}


@dataclass(frozen=True)
class Network:
    """A backbone with its classifier, and what MixSKD adds to it in training."""

    type: str
    channels: int  # that the classifier reads
    parameters: int  # of backbone and classifier
    stages: int = 4
    auxiliary: tuple[int, int] | None = None  # parameters of the branches (Eq. 1) and of the self-teacher (section 3.4)


RESNET50 = Network('ResNet', 2048, 25_557_032, auxiliary=(66_457_528, 18_826_216))
# Not of the paper: tests/configs/test_other_networks.py.
OTHER_NETWORKS = ('mobilenet-v2', 'convnext-tiny')
# Appendix A, Tables 1 to 4; "11.2M", "0.7M", "1.1M", "1.1M" in Table 1.
CIFAR_NETWORKS = {
    'r18': Network('ResNet_CIFAR', 512, 11_220_132, auxiliary=(30_060_076, 1_099_876)),
    'wrn16-2': Network('WideResNet_CIFAR', 128, 703_284, 3, auxiliary=(669_860 + 538_340, 62_052)),
    'densenet40-12': Network('DenseNet_CIFAR', 448, 1_060_132, 3, auxiliary=(925_540 + 534_196, 647_012)),
    'hcgnet-a1': Network('HCGNet_CIFAR', 414, 1_102_651, 3, auxiliary=(1_055_563 + 799_717, 555_688)),
}
# Class, number of classes and of training images. 6,667 aircraft are those of both training and validation.
FINE_GRAINED_SETS = {
    'cub': ('CUB', 200, 5_994),
    'dogs': ('StanfordDogs', 120, 12_000),
    'mit67': ('MITIndoor67', 67, 5_360),
    'cars': ('StanfordCars', 196, 8_144),
    'aircraft': ('FGVCAircraft', 100, 6_667),
}


def common_facts() -> dict:
    """What all recipes have."""
    return dict(
        from_scratch=True,
        loss=('CrossEntropyLoss', 1.0),
        batch_augments=None,
        all_parameters_optimised=True,
        clip_grad=None,
        accumulative_counts=1,
        scales_lr=False,
        loop='MidEpochTrainLoop',
        sampler=('DefaultSampler', True),
        batch_sampler=None,
        test_shuffle={False},
        test_drop_last={False},
        metrics=2 * [('Accuracy', (1, 5))],
        without_hooks=set(),
        log_interval=('DeferredRuntimeInfoHook', None),
        seeded=True,
        custom_imports=dict(imports=['mixskd_mm'], allow_failed_imports=False),
        workers_start_anew=True,
    )


def sgd(weight_decay: float) -> tuple[str, dict]:
    """What all groups of parameters have."""
    return 'SGD', dict(lr={0.1}, momentum={0.9}, dampening={0}, nesterov={False}, weight_decay={weight_decay})


def network_facts(network: Network, num_classes: int) -> dict:
    return dict(
        backbone=network.type,
        parameters=network.parameters,
        in_channels=network.channels,
        num_classes=(num_classes, num_classes),
    )


def data_facts(dataset: str, train: str, test: str, images: int, batch: int, gpus: int = 1) -> dict:
    return dict(
        data=[(dataset, train), (dataset, test), (dataset, test)],
        batch=batch,
        recipe_batch=batch,
        # The sampler gives each GPU the same number of images.
        iters_per_epoch=math.ceil(math.ceil(images / gpus) / (batch // gpus)),
    )


def red(mean: tuple, std: tuple):
    """A red image, normalised."""
    return pytest.approx([(x - m) / s for x, m, s in zip((1, 0, 0), mean, std, strict=True)], abs=2e-3)


FLIP = ('RandomFlip', 0.5, 'horizontal')
CIFAR_IMAGES = dict(
    # Black, before normalisation.
    augmentation=[('RandomCrop', (32, 32), 4, 0, 'constant'), FLIP],
    test_transforms=2 * [[]],
    red=red((0.5071, 0.4867, 0.4408), (0.2675, 0.2565, 0.2761)),
)
IMAGENET_IMAGES = dict(
    augmentation=[('RandomResizedCrop', (224, 224), (0.08, 1.0), (3 / 4, 4 / 3)), FLIP],
    test_transforms=2 * [[('ResizeEdge', 256, 'short'), ('CenterCrop', (224, 224))]],
    red=red((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)),
)
STEPS = dict(max_epochs=205, schedule='warm-up over 5 epochs, a tenth after epochs 105 and 155')
COSINE = dict(max_epochs=5 + 300, schedule='warm-up over 5 epochs, cosine over 300')


def column_facts(column: str) -> dict:
    """What the recipes of a network or data set have; Table 2's networks are trained from scratch."""
    if column in CIFAR_NETS:
        return {
            **network_facts(CIFAR_NETWORKS[column], 100),
            **data_facts('CIFAR100', 'train', 'test', images=50_000, batch=128),
            **CIFAR_IMAGES,
            **STEPS,
            'optimiser': sgd(weight_decay=5e-4),
        }
    if column in FINE_GRAINED:
        dataset, num_classes, images = FINE_GRAINED_SETS[column]
        # torchvision's ResNet-18 has 11,689,512 parameters, 513,000 of them in its classifier of 1,000 classes.
        network = Network('ResNet', 512, 11_689_512 - 513_000 + 513 * num_classes)
        return {
            **network_facts(network, num_classes),
            **data_facts(dataset, 'trainval' if column == 'aircraft' else 'train', 'test', images, batch=32),
            **IMAGENET_IMAGES,
            **STEPS,
            'optimiser': sgd(weight_decay=1e-4),
        }
    return {
        **network_facts(RESNET50, 1000),
        **data_facts('ImageNet', 'train', 'val', images=1_281_167, batch=256, gpus=8),
        **IMAGENET_IMAGES,
        **COSINE,
        'optimiser': sgd(weight_decay=1e-4),
    }


@dataclass(frozen=True)
class Cell:
    """A method on a network and data set: a committed file, or a composition of two, as a table trains it.

    Args:
        method (str): In the config's file name.
        column (str): Network or data set, as in the tables.
        job (Job, optional): What reads it, for a cell of a table. Defaults to None: it is a file.
    """

    method: str
    column: str
    job: Job | None = None

    @property
    def gpus(self) -> int:
        return 8 if self.column in R50 else 1


def cells() -> dict[str, Cell]:
    """All cells of Tables 1 to 3 and all other recipes, by the file name below ``configs/`` that they have or would have."""
    found = {}
    for table in ('table1', 'table2', 'table3'):
        for job in list_jobs(CONFIGS, table, seeds=1):
            found[config_file(job.entry.config, job.column)] = Cell(job.entry.config, job.column, job)
    for folder in ('.', 'cifar100', 'fine_grained'):
        for file in sorted((CONFIGS / folder).glob('*.py')):
            method, network, data = file.stem.split('_')[:3]
            # Tests of the latter: tests/own_data.
            if network in OTHER_NETWORKS or data == 'folder':
                continue
            column = data if folder == 'fine_grained' else network
            found.setdefault(file.relative_to(CONFIGS).as_posix(), Cell(method, column))
    return found


CELLS = cells()


def expected_facts(name: str) -> dict:
    """What ``facts.facts`` has to find in the recipe ``name``."""
    cell = CELLS[name]
    expected = {**common_facts(), **column_facts(cell.column), **METHODS.get(cell.method, {}), **FILES.get(name, {})}
    expected['transforms'] = [
        *expected.pop('before', ()),
        *expected.pop('augmentation'),
        *expected.pop('after', ()),
    ]
    network = RESNET50 if cell.column in R50 else CIFAR_NETWORKS.get(cell.column)
    if expected.get('classifier') == 'MixSKDClassifier':
        expected['teacher_stages'] = tuple(range(1, (network.stages if network else 4) + 1))
        if network:
            expected['auxiliary'] = network.auxiliary
    if cell.method == 'manifoldmixup':
        expected['mix_at'] = ('stem', *range(1, network.stages))
    return expected
