"""The paper's tables: which config and which overrides make a row, and the numbers to put beside it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

CIFAR_NETS = {
    'r18': 'ResNet-18',
    'wrn16-2': 'WRN-16-2',
    'densenet40-12': 'DenseNet-40-12',
    'hcgnet-a1': 'HCGNet-A1',
}
R50 = {'r50': 'ResNet-50, ImageNet'}
FINE_GRAINED = {
    'cub': 'CUB-200-2011',
    'dogs': 'Stanford Dogs',
    'mit67': 'MIT67',
    'cars': 'Cars',
    'aircraft': 'Aircraft',
}
TRANSFER = {'coco': 'COCO', 'voc12aug': 'Pascal VOC', 'ade20k': 'ADE20K', 'coco-stuff164k': 'COCO-Stuff-164k'}
SMALL = {'r20': 'ResNet-20, 5,000 images of CIFAR-100 at 16 x 16'}
# Teacher and student.
SUPERMIX_PAIRS = {
    'wrn40-2_wrn16-2': 'WRN-40-2 to WRN-16-2',
    'wrn40-2_wrn40-1': 'WRN-40-2 to WRN-40-1',
    'r56_r20': 'ResNet-56 to ResNet-20',
    'r110_r20': 'ResNet-110 to ResNet-20',
    'r110_r32': 'ResNet-110 to ResNet-32',
    'r32x4_r8x4': 'ResNet-32x4 to ResNet-8x4',
    'vgg13_vgg8': 'VGG-13 to VGG-8',
}
EPSILONS = {f'eps = {eps}': eps for eps in ('0.0001', '0.001', '0.01', '0.1')}
TOP1_AND_TOP5 = {'top-1': 'accuracy/top1', 'top-5': 'accuracy/top5'}


@dataclass(frozen=True)
class Row:
    """One row of a table.

    Args:
        name (str): As the paper names it.
        config (str): Method in a config's file name, e.g. ``mixskd``. Without such a config the row is only quoted.
        overrides (Mapping): What the row changes in that config, ``{'model.temperature': 1.0}``.
        paper (Mapping): Its numbers in the paper, ``'80.32 ± 0.13'``, by column or, in a table with several numbers a run,
            by what the table calls them; ``*`` marks one that the paper quotes from the method's own paper.
        epochs (float): Times the epochs of the recipe, with its schedule stretched. Defaults to 1.
    """

    name: str
    config: str
    overrides: Mapping[str, object] = field(default_factory=dict)
    paper: Mapping[str, str] = field(default_factory=dict)
    epochs: float = 1.0


@dataclass(frozen=True)
class Table:
    """One table of the paper.

    Args:
        title (str): What it shows.
        columns (Mapping[str, str]): Networks or data sets to train, by the name they have in configs.
        rows (Mapping[str, Row]): By the name that ``--rows`` knows.
        default_columns (tuple[str, ...]): Columns that the paper has; the others are the same ablation elsewhere.
        numbers (Mapping[str, str]): If a run gives several numbers: what the report calls each, and its name among the
            metrics of the test.
        attack (bool): Whether the numbers are accuracies under FGSM, by eps. Defaults to False.
    """

    title: str
    columns: Mapping[str, str]
    rows: Mapping[str, Row]
    default_columns: tuple[str, ...]
    numbers: Mapping[str, str] = field(default_factory=dict)
    attack: bool = False


def row(name: str, config: str, columns: Mapping[str, str], numbers: str = '', **overrides) -> Row:
    """A row whose ``numbers`` are the paper's, one a column, separated by ``|``; none for a row that it does not have.

    ``overrides`` are arguments of the model in this table: what a method has otherwise on these data goes here.
    """
    paper = dict(zip(columns, map(str.strip, numbers.split('|')), strict=True)) if numbers else {}
    return Row(name, config, {f'model.{key}': value for key, value in overrides.items()}, paper)


LOSS_WEIGHTS = {
    'feature': 'feature_weight',
    'dis': 'dis_weight',
    'b_logit': 'logit_weight.b_logit',
    'cls_h': 'logit_weight.cls_h',
    'f_logit': 'logit_weight.f_logit',
}


def loss_row(name: str, number: str, *terms: str) -> Row:
    """A row of Table 4: the task loss and ``terms`` of Eq. (13)."""
    off = {weight: 0.0 for term, weight in LOSS_WEIGHTS.items() if term not in terms}
    return row(name, 'mixskd', R50, number, **off)


# What a method has otherwise on other data (docs/methods.md): CS-KD's authors' lambda, MixSKD's authors' self-teacher.
CSKD_FINE_GRAINED = dict(kd_weight=3.0)
FRSKD_224 = dict(self_teacher=dict(width=1, depth=1))


def small_row(name: str, config: str, epochs: float = 1.0, **overrides) -> Row:
    """A row of the small benchmark, which no paper has."""
    return Row(name, config, {f'model.{key}': value for key, value in overrides.items()}, epochs=epochs)


# MixSKD's epochs cost 3.9 times the baseline's here (docs/results.md): rounded up, in favour of what it is compared with.
MIXSKD_COST = 5
SMALL_ROWS = {
    'baseline': small_row('Baseline', 'baseline'),
    'mixup': small_row('Mixup', 'mixup'),
    'mixskd': small_row('MixSKD', 'mixskd'),
    'cutmix': small_row('CutMix', 'cutmix'),
    'mixskd-cutmix': small_row('MixSKD with CutMix', 'mixskd-cutmix'),
    # At least as long as what costs the same as MixSKD; MixSKD at less than the cost of Mixup.
    'baseline-long': small_row(f'Baseline, {MIXSKD_COST} x the epochs', 'baseline', MIXSKD_COST),
    'mixup-long': small_row(f'Mixup, {MIXSKD_COST} x the epochs', 'mixup', MIXSKD_COST),
    'cutmix-long': small_row(f'CutMix, {MIXSKD_COST} x the epochs', 'cutmix', MIXSKD_COST),
    'mixskd-short': small_row(f'MixSKD, 1/{MIXSKD_COST} of the epochs', 'mixskd', 1 / MIXSKD_COST),
    'manifoldmixup': small_row('Manifold Mixup', 'manifoldmixup'),
    'ddgsd': small_row('DDGSD', 'ddgsd'),
    'dks': small_row('DKS', 'dks'),
    'byot': small_row('BYOT', 'byot'),
    'sad': small_row('SAD', 'sad'),
    'tf-kd': small_row('Tf-KD', 'tf-kd'),
    'cs-kd': small_row('CS-KD', 'cs-kd'),
    'cs-kd+mixup': small_row('CS-KD+Mixup', 'cs-kd-mixup'),
    'frskd': small_row('FRSKD', 'frskd'),
    'frskd+mixup': small_row('FRSKD+Mixup', 'frskd-mixup'),
    'ps-kd': small_row('PS-KD', 'ps-kd', num_samples=5000),
    'bake': small_row('BAKE', 'bake'),
    'cutout': small_row('Cutout', 'cutout'),
    'autoaugment': small_row('AutoAugment', 'autoaugment'),
    'randaugment': small_row('RandAugment', 'randaugment'),
    'randomerasing': small_row('Random Erase', 'randomerasing'),
}

TABLES = {
    'table1': Table(
        'Table 1: top-1 accuracy (%) on CIFAR-100',
        CIFAR_NETS,
        {
            'baseline': row(
                'Baseline', 'baseline', CIFAR_NETS, '76.24 ± 0.07 | 72.24 ± 0.29 | 74.61 ± 0.24 | 75.58 ± 0.30'
            ),
            'ddgsd': row('DDGSD', 'ddgsd', CIFAR_NETS, '76.61 ± 0.47 | 72.46 ± 0.05 | 75.87 ± 0.30 | 76.50 ± 0.18'),
            'dks': row('DKS', 'dks', CIFAR_NETS, '78.64 ± 0.25 | 73.73 ± 0.22 | 74.94 ± 0.60 | 78.04 ± 0.16'),
            'byot': row('BYOT', 'byot', CIFAR_NETS, '77.88 ± 0.19 | 72.97 ± 0.34 | 75.49 ± 0.16 | 76.81 ± 0.64'),
            'sad': row('SAD', 'sad', CIFAR_NETS, '76.40 ± 0.17 | 72.62 ± 0.17 | 74.77 ± 0.12 | 75.86 ± 0.57'),
            'tf-kd': row('Tf-KD', 'tf-kd', CIFAR_NETS, '76.61 ± 0.34 | 72.66 ± 0.21 | 74.68 ± 0.17 | 75.84 ± 0.23'),
            'cs-kd': row('CS-KD', 'cs-kd', CIFAR_NETS, '78.01* ± 0.13 | 73.23 ± 0.33 | 75.02 ± 0.37 | 76.36 ± 0.30'),
            'frskd': row('FRSKD', 'frskd', CIFAR_NETS, '77.71* ± 0.14 | 73.27* ± 0.45 | 74.91 ± 0.36 | 77.26 ± 0.11'),
            'ps-kd': row('PS-KD', 'ps-kd', CIFAR_NETS),
            'bake': row('BAKE', 'bake', CIFAR_NETS),
            'cutout': row('Cutout', 'cutout', CIFAR_NETS, '76.66 ± 0.42 | 73.66 ± 0.18 | 75.45 ± 0.33 | 76.63 ± 0.15'),
            'mixup': row('Mixup', 'mixup', CIFAR_NETS, '78.68 ± 0.12 | 73.60 ± 0.59 | 75.55 ± 0.81 | 77.89 ± 0.18'),
            'manifoldmixup': row(
                'Manifold Mixup',
                'manifoldmixup',
                CIFAR_NETS,
                '79.29 ± 0.20 | 72.53 ± 0.08 | 75.19 ± 0.38 | 77.72 ± 0.26',
            ),
            'cutmix': row('CutMix', 'cutmix', CIFAR_NETS),
            'autoaugment': row(
                'AutoAugment', 'autoaugment', CIFAR_NETS, '77.97 ± 0.17 | 74.16 ± 0.22 | 76.21 ± 0.15 | 78.13 ± 0.78'
            ),
            'randaugment': row(
                'RandAugment', 'randaugment', CIFAR_NETS, '76.86 ± 0.55 | 73.87 ± 0.08 | 76.23 ± 0.22 | 77.56 ± 0.50'
            ),
            'randomerasing': row(
                'Random Erase', 'randomerasing', CIFAR_NETS, '76.75 ± 0.33 | 74.04 ± 0.11 | 75.52 ± 0.46 | 77.38 ± 0.14'
            ),
            'cs-kd+mixup': row(
                'CS-KD+Mixup', 'cs-kd-mixup', CIFAR_NETS, '79.60* ± 0.31 | 73.82 ± 0.18 | 76.32 ± 0.37 | 78.03 ± 0.44'
            ),
            'frskd+mixup': row(
                'FRSKD+Mixup', 'frskd-mixup', CIFAR_NETS, '78.74* ± 0.19 | 73.67 ± 0.36 | 75.56 ± 0.07 | 78.23 ± 0.22'
            ),
            'mixskd': row('MixSKD', 'mixskd', CIFAR_NETS, '80.32 ± 0.13 | 74.89 ± 0.27 | 76.85 ± 0.19 | 78.57 ± 0.19'),
        },
        tuple(CIFAR_NETS),
    ),
    'table2': Table(
        'Table 2: top-1 accuracy (%) of ResNet-18 on fine-grained data sets',
        FINE_GRAINED,
        {
            'baseline': row(
                'Baseline',
                'baseline',
                FINE_GRAINED,
                '57.48 ± 0.45 | 66.83 ± 0.29 | 57.81 ± 1.42 | 83.50 ± 0.24 | 77.07 ± 0.26',
            ),
            'ddgsd': row(
                'DDGSD',
                'ddgsd',
                FINE_GRAINED,
                '56.89 ± 0.42 | 69.24 ± 0.84 | 56.46 ± 0.59 | 85.04 ± 0.11 | 74.91 ± 0.97',
            ),
            'dks': row(
                'DKS', 'dks', FINE_GRAINED, '63.72 ± 0.21 | 71.07 ± 0.07 | 61.50 ± 0.12 | 86.13 ± 0.31 | 79.69 ± 0.31'
            ),
            'byot': row(
                'BYOT', 'byot', FINE_GRAINED, '61.77 ± 0.43 | 69.58 ± 0.20 | 59.03 ± 0.42 | 85.36 ± 0.18 | 79.32 ± 0.45'
            ),
            'sad': row(
                'SAD', 'sad', FINE_GRAINED, '55.51 ± 0.67 | 66.10 ± 0.08 | 57.46 ± 0.79 | 82.94 ± 0.22 | 73.62 ± 0.68'
            ),
            'tf-kd': row(
                'Tf-KD',
                'tf-kd',
                FINE_GRAINED,
                '57.44 ± 0.25 | 66.57 ± 0.33 | 57.51 ± 0.86 | 83.59 ± 0.49 | 76.76 ± 0.34',
            ),
            'cs-kd': row(
                'CS-KD',
                'cs-kd',
                FINE_GRAINED,
                '66.72* ± 0.99 | 69.15* ± 0.28 | 59.55* ± 0.45 | 86.87 ± 0.04 | 80.92 ± 0.44',
                **CSKD_FINE_GRAINED,
            ),
            'frskd': row(
                'FRSKD',
                'frskd',
                FINE_GRAINED,
                '65.39* ± 0.13 | 70.77* ± 0.20 | 61.74* ± 0.67 | 84.73 ± 0.03 | 78.85 ± 0.55',
                **FRSKD_224,
            ),
            'ps-kd': row('PS-KD', 'ps-kd', FINE_GRAINED),
            'bake': row('BAKE', 'bake', FINE_GRAINED),
            'mixup': row(
                'Mixup',
                'mixup',
                FINE_GRAINED,
                '65.53 ± 0.73 | 69.30 ± 0.10 | 58.83 ± 0.77 | 86.10 ± 0.28 | 79.94 ± 0.18',
            ),
            'cs-kd+mixup': row(
                'CS-KD+Mixup',
                'cs-kd-mixup',
                FINE_GRAINED,
                '69.29* ± 0.64 | 70.07* ± 0.14 | 60.35* ± 0.85 | 87.10 ± 0.30 | 81.13 ± 0.45',
                **CSKD_FINE_GRAINED,
            ),
            'frskd+mixup': row(
                'FRSKD+Mixup',
                'frskd-mixup',
                FINE_GRAINED,
                '67.98* ± 0.58 | 71.64* ± 0.29 | 62.11* ± 0.81 | 86.25 ± 0.33 | 79.97 ± 0.58',
                **FRSKD_224,
            ),
            'mixskd': row(
                'MixSKD',
                'mixskd',
                FINE_GRAINED,
                '72.15 ± 0.53 | 72.14 ± 0.22 | 64.10 ± 0.45 | 89.17 ± 0.08 | 82.95 ± 0.31',
            ),
        },
        tuple(FINE_GRAINED),
    ),
    'table3': Table(
        'Table 3: accuracy (%) on ImageNet',
        R50,
        {
            'baseline': row('ResNet-50', 'baseline', TOP1_AND_TOP5, '77.08 | 93.20'),
            'mixup': row('+Mixup', 'mixup', TOP1_AND_TOP5, '77.51 | 93.72'),
            'manifoldmixup': row('+Manifold Mixup', 'manifoldmixup', TOP1_AND_TOP5, '77.43 | 93.68'),
            'frskd': row('+FRSKD', 'frskd', TOP1_AND_TOP5, '76.92 | 92.96', **FRSKD_224),
            'frskd+mixup': row('+FRSKD+Mixup', 'frskd-mixup', TOP1_AND_TOP5, '77.79 | 93.64', **FRSKD_224),
            'mixskd': row('+MixSKD', 'mixskd', TOP1_AND_TOP5, '78.76 | 94.40'),
        },
        tuple(R50),
        TOP1_AND_TOP5,
    ),
    'table3-transfer': Table(
        'Table 3: box mAP (%) of Cascade R-CNN on COCO, mIoU (%) of DeepLabV3',
        TRANSFER,
        {
            'baseline': row('ResNet-50', 'baseline', TRANSFER, '41.0 | 77.09 | 39.72 | 34.08'),
            'mixup': row('+Mixup', 'mixup', TRANSFER, '41.1 | 76.71 | 39.69 | 33.38'),
            'manifoldmixup': row('+Manifold Mixup', 'manifoldmixup', TRANSFER, '40.8 | 75.62 | 38.07 | 32.82'),
            'frskd': row('+FRSKD', 'frskd', TRANSFER, '40.9 | 77.10 | 39.48 | 33.63'),
            'frskd+mixup': row('+FRSKD+Mixup', 'frskd-mixup', TRANSFER, '41.0 | 76.61 | 39.39 | 33.54'),
            'mixskd': row('+MixSKD', 'mixskd', TRANSFER, '41.5 | 78.78 | 42.37 | 37.12'),
        },
        tuple(TRANSFER),
    ),
    'table4': Table(
        'Table 4: loss terms, top-1 accuracy (%)',
        R50 | CIFAR_NETS,
        {
            'baseline': row('none (baseline)', 'baseline', R50, '77.08'),
            'task': loss_row('L_cls_mixup', '77.68'),
            'feature': loss_row('+ L_feature', '78.14', 'feature'),
            'feature+dis': loss_row('+ L_feature + L_dis', '78.47', 'feature', 'dis'),
            'b_logit': loss_row('+ L_b_logit', '78.06', 'b_logit'),
            'h': loss_row('+ L_cls_h + L_f_logit', '78.23', 'cls_h', 'f_logit'),
            'logit': loss_row('+ L_b_logit + L_cls_h + L_f_logit', '78.54', 'b_logit', 'cls_h', 'f_logit'),
            'all': loss_row('all (MixSKD)', '78.76', 'feature', 'dis', 'b_logit', 'cls_h', 'f_logit'),
        },
        tuple(R50),
    ),
    'table5-fgsm': Table(
        'Table 5, left: top-1 accuracy (%) on CIFAR-100 under FGSM',
        CIFAR_NETS,
        {
            'baseline': row('Baseline', 'baseline', EPSILONS, '60.5 | 57.9 | 37.6 | 8.6'),
            'mixup': row('+Mixup', 'mixup', EPSILONS, '63.1 | 61.1 | 40.7 | 11.4'),
            'cs-kd+mixup': row('+CS-KD+Mixup', 'cs-kd-mixup', EPSILONS, '63.8 | 62.1 | 42.8 | 13.0'),
            'frskd+mixup': row('+FRSKD+Mixup', 'frskd-mixup', EPSILONS, '62.9 | 60.7 | 40.9 | 12.2'),
            'mixskd': row('+MixSKD', 'mixskd', EPSILONS, '67.7 | 65.5 | 46.8 | 15.3'),
        },
        ('wrn16-2',),
        EPSILONS,
        attack=True,
    ),
    'table5-temperature': Table(
        'Table 5, middle: temperature, top-1 accuracy (%)',
        R50 | CIFAR_NETS,
        {
            str(t): row(f'T = {t}', 'mixskd', R50, number, **({} if t == 3 else {'temperature': float(t)}))
            for t, number in enumerate(('77.94', '78.21', '78.76', '78.65', '78.37'), start=1)
        },
        tuple(R50),
    ),
    'table5-stage': Table(
        'Table 5, right: stages that feed the self-teacher, top-1 accuracy (%)',
        R50 | CIFAR_NETS,
        {
            **{
                str(k): row(f'stage {k}', 'mixskd', R50, number, teacher_stages=[k])
                for k, number in enumerate(('78.01', '78.18', '78.36', '78.42'), start=1)
            },
            'all': row('all stages', 'mixskd', R50, '78.76'),
        },
        tuple(R50),
    ),
    'supermix': Table(
        "SuperMix: top-1 accuracy (%) of students on CIFAR-100, beside its authors' README",
        SUPERMIX_PAIRS,
        {
            'teacher': row('Teacher', 'teacher', SUPERMIX_PAIRS),
            'baseline': row('Student alone', 'baseline', SUPERMIX_PAIRS),
            'supermix': row(
                'SuperMix', 'supermix', SUPERMIX_PAIRS, '76.93 | 76.11 | 72.64 | 72.75 | 74.80 | 77.16 | 75.38'
            ),
            'supermix-kd-release': row(
                'SuperMix + KD, gamma 1.8, a 0.2',
                'supermix-kd-release',
                SUPERMIX_PAIRS,
                '77.45 | 76.53 | 73.19 | 72.96 | 75.21 | 77.59 | 76.03',
            ),
            'supermix-kd-swapped': row('SuperMix + KD, gamma 0.2, a 1.8', 'supermix-kd-swapped', SUPERMIX_PAIRS),
            'supermix-kd': row('SuperMix + KD on mixed images', 'supermix-kd', SUPERMIX_PAIRS),
        },
        tuple(SUPERMIX_PAIRS),
    ),
    'small': Table(
        'A small benchmark: top-1 accuracy (%)',
        SMALL,
        SMALL_ROWS,
        tuple(SMALL),
    ),
}
