from .bake import BAKEClassifier
from .byot import BYOTClassifier
from .cs_kd import CSKDClassifier
from .dcm import DCMClassifier
from .ddgsd import DDGSDClassifier
from .dks import DKSClassifier
from .frskd import FRSKDClassifier
from .kd import KDClassifier
from .manifold_mixup import ManifoldMixupClassifier
from .mixskd import MixSKDClassifier
from .ps_kd import PSKDClassifier
from .sad import SADClassifier
from .supermix import SuperMixClassifier
from .tf_kd import TfKDClassifier

__all__ = [
    'BAKEClassifier',
    'BYOTClassifier',
    'CSKDClassifier',
    'DCMClassifier',
    'DDGSDClassifier',
    'DKSClassifier',
    'FRSKDClassifier',
    'KDClassifier',
    'ManifoldMixupClassifier',
    'MixSKDClassifier',
    'PSKDClassifier',
    'SADClassifier',
    'SuperMixClassifier',
    'TfKDClassifier',
]
