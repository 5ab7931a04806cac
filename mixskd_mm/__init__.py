"""MixSKD for OpenMMLab: importing this package registers everything it offers."""

from .compat import check_versions
from .version import __version__

check_versions()

from .differences import keep_debug_messages_quiet, keep_version_checks_out_of_graphs  # noqa: E402

keep_debug_messages_quiet()
keep_version_checks_out_of_graphs()

from . import checkpoints, datasets, engine, evaluation, models, own_data, segmentation  # noqa: E402
from .api import get_model, list_models  # noqa: E402
from .model_index import register_when_asked  # noqa: E402
from .models.wrapping import wrap  # noqa: E402

register_when_asked()

__all__ = [
    '__version__',
    'checkpoints',
    'datasets',
    'engine',
    'evaluation',
    'get_model',
    'list_models',
    'models',
    'own_data',
    'segmentation',
    'wrap',
]
