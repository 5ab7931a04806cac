from .fgsm import fgsm_top1, gradient_sign, perturb
from .linearity import feature_gap, linearity, prediction_gap
from .loading import LoadedClassifier, load_classifier
from .miss_rate import miss_rates, missed
from .pair_accuracy import PairAccuracy
from .predictions import common_errors, histograms, predict, score

__all__ = [
    'LoadedClassifier',
    'PairAccuracy',
    'common_errors',
    'feature_gap',
    'fgsm_top1',
    'gradient_sign',
    'histograms',
    'linearity',
    'load_classifier',
    'miss_rates',
    'missed',
    'perturb',
    'predict',
    'prediction_gap',
    'score',
]
