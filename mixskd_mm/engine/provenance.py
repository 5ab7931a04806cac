"""Note in each checkpoint which recipe and which code made it."""

from __future__ import annotations

import os

from mmengine.hooks import Hook
from mmengine.registry import HOOKS

from mixskd_mm.checkpoints.export import code_version


@HOOKS.register_module()
class ProvenanceHook(Hook):
    """Add ``meta.recipe``, the config file's name, and ``meta.mixskd_mm``, version and git commit, to checkpoints."""

    def before_save_checkpoint(self, runner, checkpoint: dict) -> None:
        recipe = os.path.basename(runner.cfg.filename or runner.experiment_name)
        checkpoint['meta'].update(recipe=recipe, mixskd_mm=code_version())
