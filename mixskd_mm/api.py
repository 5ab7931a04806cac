"""Recipes by their names, from Python."""

from __future__ import annotations

import difflib
import fnmatch
from pathlib import Path

import mmpretrain
from mmengine.config import Config
from mmengine.model import BaseModel
from mmengine.registry import MODELS, DefaultScope

from .checkpoints.load import load_model
from .configs import read_config
from .errors import InputError
from .models.fresh import init_quietly
from .settings import describe_argument, naming_settings

# Ends of the names of recipes that their data complete: without them they are no model's.
COMPLETED_BY_DATA = ('_folder', '_own', '_own-512x512')


def root() -> Path:
    """The folder with ``configs`` and ``model-index.yml``: the repository, or what an installed package carries of it."""
    package = Path(__file__).resolve().parent
    carried = package / '.mim'
    # Older editable installs left a folder of links there.
    return carried if (carried / 'model-index.yml').is_file() else package.parent


def recipes() -> dict[str, Path]:
    """The config of each recipe that is complete, by the recipe's name: that of the file, without ``.py``."""
    configs = root() / 'configs'
    files = (path for path in configs.rglob('*.py') if '_base_' not in path.relative_to(configs).parts)
    return {path.stem: path for path in sorted(files) if not path.stem.endswith(COMPLETED_BY_DATA)}


def list_models(pattern: str | None = None) -> list[str]:
    """Names of the recipes, sorted.

    Args:
        pattern (str, optional): Shell wildcards that the beginning of a name has to match, as in
            ``mmpretrain.list_models``: ``'mixskd'``, ``'*_r18_cifar100'``. Defaults to None: all.

    Returns:
        list[str]: Names that :func:`get_model` takes.
    """
    names = sorted(recipes())
    return names if pattern is None else fnmatch.filter(names, f'{pattern}*')


def get_model(name: str, checkpoint: str | None = None, **overrides) -> BaseModel:
    """Build the model of a recipe, in evaluation mode.

    A classifier has its training parts; ``to_plain()`` gives the plain network. It also has what mmpretrain's inferencers
    read: ``ImageClassificationInferencer(model)``.

    Args:
        name (str): One of :func:`list_models`.
        checkpoint (str, optional): File or address of weights. All that predicts is loaded, or nothing; what only training
            needs is loaded if the checkpoint has all of it, and starts anew otherwise, which a warning says. Defaults to
            None: the recipe's initial weights.
        overrides: Settings of the recipe's ``model``, such as ``temperature=4.0``, ``head=dict(num_classes=10)`` or
            ``data_preprocessor=dict(alpha=0.4)``: dicts are merged, as in configs. With ``head.num_classes`` the data
            preprocessor has that number too.

    Returns:
        BaseModel: The classifier, detector or segmenter, on the CPU.

    Raises:
        InputError: if there is no such recipe, a setting does not exist or is out of range, or the checkpoint is none of
            this model.
    """
    model = build(recipe_config(name, overrides))
    if checkpoint is None:
        init_quietly(model)
    else:
        meta = load_model(model, checkpoint)
        if 'dataset_meta' in meta:
            model._dataset_meta = meta['dataset_meta']
    return model.eval()


def recipe_config(name: str, overrides: dict) -> Config:
    """The config of a recipe, its ``data_preprocessor`` in ``model`` too, with ``overrides`` of ``model``."""
    known = recipes()
    if str(name).endswith(COMPLETED_BY_DATA):
        raise InputError(
            f'name={name!r} is completed by data: expected mmpretrain.get_model(CONFIG, CHECKPOINT), with the config that '
            'its training wrote into the work directory'
        )
    if name not in known:
        near = difflib.get_close_matches(str(name), known, 1)
        hint = f'{near[0]}, or another one of' if near else 'one of'
        raise InputError(f'name={name!r} is no recipe: expected {hint} mixskd_mm.list_models()')
    cfg = read_config(str(known[name]))
    if 'data_preprocessor' in cfg:
        cfg.model.setdefault('data_preprocessor', cfg.data_preprocessor)
    try:
        cfg.merge_from_dict(dict(model=overrides))
    # As mmengine reports that a dict cannot be merged into what is none.
    except (KeyError, TypeError, IndexError) as error:
        raise InputError(f'{name} with {overrides}: {error.args[0]}: expected settings of the recipe') from error
    if 'num_classes' in (overrides.get('head') or {}) and 'num_classes' in cfg.model.get('data_preprocessor', {}):
        given = (overrides.get('data_preprocessor') or {}).get('num_classes', overrides['head']['num_classes'])
        cfg.model.data_preprocessor.num_classes = given
    return cfg


def build(cfg: Config) -> BaseModel:
    """The model of a recipe, without initial weights. Raises InputError for arguments that its classes do not have."""
    try:
        with naming_settings(), DefaultScope.overwrite_default_scope(cfg.default_scope):
            if cfg.default_scope == 'mmpretrain':
                return mmpretrain.get_model(cfg)
            model = MODELS.build(cfg.model)
            # What the inferencers of mmdet and mmseg read.
            model.cfg = cfg
            return model
    except InputError:
        raise
    except Exception as error:
        described = describe_argument(error, cfg._cfg_dict)
        if described is None:
            raise
        raise InputError(described) from error
