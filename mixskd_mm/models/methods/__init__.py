from .byot import BYOTClassifier
from .ddgsd import DDGSDClassifier
from .dks import DKSClassifier
from .frskd import FRSKDClassifier
from .manifold_mixup import ManifoldMixupClassifier
from .mixskd import MixSKDClassifier
from .sad import SADClassifier

__all__ = [
    'BYOTClassifier',
    'DDGSDClassifier',
    'DKSClassifier',
    'FRSKDClassifier',
    'ManifoldMixupClassifier',
    'MixSKDClassifier',
    'SADClassifier',
]
