from .frskd import FRSKDClassifier
from .manifold_mixup import ManifoldMixupClassifier
from .mixskd import MixSKDClassifier

__all__ = ['FRSKDClassifier', 'ManifoldMixupClassifier', 'MixSKDClassifier']
