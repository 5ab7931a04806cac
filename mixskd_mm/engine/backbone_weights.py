"""Make sure that a fine-tuned network really starts from the pretrained backbone, all of it."""

from __future__ import annotations

from mmengine.hooks import Hook
from mmengine.registry import HOOKS
from mmengine.runner import CheckpointLoader

from mixskd_mm.checkpoints.load import check_keys, check_values
from mixskd_mm.checkpoints.parts import foreign_parts, without_wrapper
from mixskd_mm.errors import InputError

from .checkpoint_keys import training, unwrap


@HOOKS.register_module()
class BackboneWeightsHook(Hook):
    """Check the checkpoint in ``model.backbone.init_cfg`` before training, and after it was loaded compare each tensor.

    mmengine loads what matches and only warns about the rest: a backbone of another type can keep a random stem unnoticed.
    This hook prints how many tensors the backbone took and stops if it is not all of them. Tests, and runs that resume or
    start from a checkpoint of the whole model (``load_from``), do not use that file and are not checked.

    Args:
        strict (bool): Stop, rather than print how many tensors match. Defaults to True.

    Raises:
        InputError: if the checkpoint is not that of a classifier, or does not fit the backbone.
    """

    def __init__(self, strict: bool = True) -> None:
        self.strict = strict
        self._loaded: dict | None = None
        self._source = ''

    def before_run(self, runner) -> None:
        """Before mmengine loads the file, so that what does not fit is described here and not there."""
        starts = training(runner) and not runner._resume and runner._load_from is None
        backbone = getattr(unwrap(runner.model), 'backbone', None)
        if not starts or backbone is None:
            return
        init_cfg = runner.cfg.model.get('backbone', {}).get('init_cfg')
        if not isinstance(init_cfg, dict) or init_cfg.get('type') != 'Pretrained':
            runner.logger.info(f'The backbone takes no tensors from a checkpoint: model.backbone.init_cfg={init_cfg}')
            return
        self._source = f'checkpoint {init_cfg.checkpoint} (model.backbone.init_cfg)'
        self._loaded = backbone_tensors(init_cfg.checkpoint, init_cfg.get('prefix'))
        if self.strict:
            found = {name: tuple(value.shape) for name, value in self._loaded.items()}
            needed = {name: tuple(value.shape) for name, value in backbone.state_dict().items()}
            check_keys(needed, found, self._source, f'backbone {type(backbone).__name__}')

    def before_train(self, runner) -> None:
        if self._loaded is None:
            return
        state = unwrap(runner.model).backbone.state_dict()
        same = [name for name, value in state.items() if name in self._loaded and value.cpu().equal(self._loaded[name])]
        runner.logger.info(f'The backbone took {len(same)} of its {len(state)} tensors from {self._source}')
        if self.strict and len(same) < len(state):
            different = next(name for name in state if name not in same)
            raise InputError(
                f'{self._source}: {len(state) - len(same)} of the {len(state)} tensors of the backbone did not get its '
                f'values (first: {different}): expected all; BackboneWeightsHook(strict=False) allows it'
            )
        self._loaded = None


def backbone_tensors(filename: str, prefix: str | None) -> dict:
    """Tensors of a classifier's checkpoint whose names start with ``prefix``, without it.

    Raises:
        InputError: if the checkpoint is a detector's or segmenter's, has no such names, or holds values that are not finite.
    """
    checkpoint = CheckpointLoader.load_checkpoint(filename, map_location='cpu')
    state = without_wrapper(checkpoint.get('state_dict', checkpoint))
    prefix = f'{prefix.rstrip(".")}.' if prefix else ''
    if prefix:
        foreign = foreign_parts(state)
        if foreign:
            raise InputError(
                f'checkpoint {filename} holds {", ".join(foreign)}: expected that of a classifier, not of a detector, '
                'segmenter or another network'
            )
    tensors = {name.removeprefix(prefix): value for name, value in state.items() if name.startswith(prefix)}
    if not tensors:
        first = next(iter(state), 'nothing')
        raise InputError(
            f'checkpoint {filename} has no tensors named {prefix}*, but {first}: expected another init_cfg.prefix'
        )
    check_values(tensors, f'checkpoint {filename}')
    return tensors
