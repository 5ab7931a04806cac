"""MixSKD for OpenMMLab: importing this package registers everything it offers."""

from .compat import check_versions
from .version import __version__

check_versions()

from .differences import keep_version_checks_out_of_graphs  # noqa: E402

keep_version_checks_out_of_graphs()

from . import checkpoints, datasets, engine, evaluation, models, segmentation  # noqa: E402

__all__ = ['__version__', 'checkpoints', 'datasets', 'engine', 'evaluation', 'models', 'segmentation']
