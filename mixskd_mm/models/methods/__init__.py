from .dcm import DCMClassifier
from .frskd import FRSKDClassifier
from .manifold_mixup import ManifoldMixupClassifier
from .mixskd import MixSKDClassifier

__all__ = ['DCMClassifier', 'FRSKDClassifier', 'ManifoldMixupClassifier', 'MixSKDClassifier']
