from .calibration import calibration, expected_calibration_error, reliability
from .confusion import confusion_matrix, most_confused
from .corruptions import corruption_errors, mean_corruption_error, relative_to_alexnet
from .fgsm import fgsm_top1, gradient_sign, perturb
from .linearity import feature_gap, linearity, prediction_gap
from .loading import LoadedClassifier, load_classifier, training_images
from .miss_rate import miss_rates, missed
from .pair_accuracy import PairAccuracy
from .predictions import common_errors, histograms, predict, score
from .probe import features, knn_predictions, linear_probe, probe

__all__ = [
    'LoadedClassifier',
    'PairAccuracy',
    'calibration',
    'common_errors',
    'confusion_matrix',
    'corruption_errors',
    'expected_calibration_error',
    'feature_gap',
    'features',
    'fgsm_top1',
    'gradient_sign',
    'histograms',
    'knn_predictions',
    'linear_probe',
    'linearity',
    'load_classifier',
    'mean_corruption_error',
    'miss_rates',
    'missed',
    'most_confused',
    'perturb',
    'predict',
    'prediction_gap',
    'probe',
    'relative_to_alexnet',
    'reliability',
    'score',
    'training_images',
]
