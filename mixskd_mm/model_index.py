"""The recipes among mmpretrain's models: ``mmpretrain.list_models``, ``get_model`` and ``inference_model`` by name."""

from __future__ import annotations

from mmpretrain.apis.model import ModelHub

from .api import root

TASK = 'Image Classification'


def register_when_asked() -> None:
    """Let mmpretrain read ``model-index.yml`` when it reads its own: neither is read at import, which would slow it down."""
    own = ModelHub._register_mmpretrain_models

    def register_all(cls) -> None:
        own()
        register()

    ModelHub._register_mmpretrain_models = classmethod(register_all)


def register() -> None:
    """Add the classifiers of ``model-index.yml`` to mmpretrain's models, once."""
    if ModelHub.has('mixskd_r50_imagenet'):
        return
    before = set(ModelHub._models_dict)
    ModelHub.register_model_index(root() / 'model-index.yml', config_prefix=root())
    for name in ModelHub._models_dict.keys() - before:
        # Detectors and segmenters, which mmpretrain cannot build.
        if all(result.task != TASK for result in ModelHub._models_dict[name].results):
            del ModelHub._models_dict[name]
