from . import backbones, heads, losses, methods, mixing
from .backbones import *  # noqa: F403
from .base import SelfDistillationClassifier
from .branches import DCMBranches
from .heads import *  # noqa: F403
from .losses import *  # noqa: F403
from .methods import *  # noqa: F403
from .mixing import *  # noqa: F403
from .stages import AuxiliaryBranch

__all__ = [
    'AuxiliaryBranch',
    'DCMBranches',
    'SelfDistillationClassifier',
    *backbones.__all__,
    *heads.__all__,
    *losses.__all__,
    *methods.__all__,
    *mixing.__all__,
]
