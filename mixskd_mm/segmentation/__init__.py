"""What the paper's segmentation experiments need beside mmseg: heads, a data set and a metric.

They derive from mmseg's classes, but importing mmseg takes seconds, and for pretraining it need not be installed. So
mmengine's root registries, where mmseg's own find them, hold functions that import a class when a config asks for it.
"""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module

from mmengine.registry import DATASETS, METRICS, MODELS

from mixskd_mm.compat import import_library
from mixskd_mm.errors import InputError


def lazy(module: str, name: str) -> Callable:
    """A function that builds ``<module>.<name>`` with its arguments; ``module`` is a path from this package."""

    def build(*args, **kwargs):
        try:
            import_library('mmseg')
        except ImportError as error:
            raise InputError(f'{name} needs mmseg: {error}') from error
        return getattr(import_module(module, __name__), name)(*args, **kwargs)

    build.__name__ = build.__qualname__ = name
    return build


for registry, module, name in (
    (MODELS, '.heads', 'ProjectedASPPHead'),
    (MODELS, '.heads', 'ElementDropoutFCNHead'),
    (DATASETS, '.coco_stuff', 'COCOStuff182Dataset'),
    (DATASETS, 'mixskd_mm.own_data.masks', 'MaskFolders'),
    (METRICS, '.metrics', 'AllClassIoUMetric'),
):
    registry.register_module(name=name, module=lazy(module, name))
