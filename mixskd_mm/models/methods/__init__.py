from .bake import BAKEClassifier
from .cs_kd import CSKDClassifier
from .frskd import FRSKDClassifier
from .kd import KDClassifier
from .manifold_mixup import ManifoldMixupClassifier
from .mixskd import MixSKDClassifier
from .supermix import SuperMixClassifier
from .tf_kd import TfKDClassifier

__all__ = [
    'BAKEClassifier',
    'CSKDClassifier',
    'FRSKDClassifier',
    'KDClassifier',
    'ManifoldMixupClassifier',
    'MixSKDClassifier',
    'SuperMixClassifier',
    'TfKDClassifier',
]
