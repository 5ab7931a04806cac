from .draw import CutMix, FMix, Mixup
from .mixture import MaskMixture, Mixture
from .preprocessor import MixupDataPreprocessor, hard_labels
from .rng import training_rng

__all__ = ['CutMix', 'FMix', 'MaskMixture', 'Mixture', 'Mixup', 'MixupDataPreprocessor', 'hard_labels', 'training_rng']
