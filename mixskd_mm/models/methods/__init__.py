from .manifold_mixup import ManifoldMixupClassifier
from .mixskd import MixSKDClassifier

__all__ = ['ManifoldMixupClassifier', 'MixSKDClassifier']
