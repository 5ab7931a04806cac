"""From a training checkpoint to weights that other libraries load."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from functools import cache, partial
from pathlib import Path

import torch
from mmpretrain.registry import MODELS
from torch import Tensor, nn

from mixskd_mm.errors import InputError
from mixskd_mm.models.methods.dcm import peer_config
from mixskd_mm.version import __version__

from .config_text import literal_config
from .load import check_values
from .parts import PEER, network_part, without_wrapper
from .safe_load import load_local_checkpoint
from .write import as_bytes, check_other_file, write_file


def training_state(checkpoint: dict, source: str, ema: bool = False, network: int = 0) -> dict[str, Tensor]:
    """Weights of the plain classifier in a training checkpoint.

    Args:
        checkpoint (dict): As mmengine saves it.
        source (str): Its file, for messages.
        ema (bool): Take the exponential moving average of the weights instead of the weights. Defaults to False.
        network (int): Which network of a checkpoint that holds two (DCM), 0 or 1. Defaults to 0.

    Raises:
        InputError: if there is no average, no backbone or no such network, or if a weight is not finite.
    """
    state = without_wrapper(checkpoint.get('state_dict', checkpoint))
    if ema and 'ema_state_dict' not in checkpoint:
        raise InputError(f'checkpoint {source} holds no averaged weights (ema_state_dict): expected a run with EMAHook')
    if 'ema_state_dict' in checkpoint and not ema:
        # EMAHook saves the average as state_dict, and the weights that are trained as the other one.
        trained = checkpoint['ema_state_dict']
        state = {key: trained.get(f'module.{key}', value) for key, value in state.items()}
    state = network_part(state, network)
    if not any(key.startswith('backbone.') for key in state):
        prefix, expected = [('', 'one that a classifier was trained to'), (PEER, 'one of two networks, as DCM has')][
            network
        ]
        raise InputError(f'checkpoint {source} has no {prefix}backbone.* weights: expected {expected}')
    check_values(state, f'checkpoint {source}')
    return state


def model_config(checkpoint: dict, source: str, network: int = 0) -> dict:
    """Config of the plain classifier that the checkpoint belongs to, from the run's config that it carries.

    ``network`` is as in :func:`training_state`.

    Raises:
        InputError: if it carries none, or its model is no classifier (a detector, a segmenter).
    """
    meta = checkpoint.get('meta')
    text = meta.get('cfg') if isinstance(meta, dict) else None
    if text is None and isinstance(meta, dict) and 'recipe' in meta:
        raise InputError(f'checkpoint {source} was exported already: expected the training checkpoint it was made from')
    if text is None:
        raise InputError(
            f'checkpoint {source} does not say what was trained (meta.cfg): expected a training checkpoint'
        )
    model = literal_config(text).get('model', {})
    if 'backbone' not in model or 'num_classes' not in model.get('head', {}):
        raise InputError(
            f'checkpoint {source} holds a {model.get("type", "model without a name")}: expected an image classifier'
        )
    parts = peer_config(model) if network == 1 else {key: model.get(key) for key in ('backbone', 'neck', 'head')}
    parts['backbone'].pop('init_cfg', None)
    return dict(type='ImageClassifier', **parts)


def build_classifier(config: dict, state: dict[str, Tensor], source: str) -> nn.Module:
    """The plain classifier with these weights, in eval mode. Raises InputError if they do not fit."""
    model = MODELS.build(config)
    try:
        model.load_state_dict(state, strict=True)
    except RuntimeError as error:
        first = str(error).splitlines()[1].strip()
        raise InputError(f'checkpoint {source} does not fit the model of its own config: {first}') from error
    return model.eval()


def torchvision_name(key: str) -> str:
    """mmpretrain's name of a ResNet's tensor to torchvision's, which timm shares."""
    return key.removeprefix('backbone.').replace('head.fc.', 'fc.')


def counterpart(backbone: nn.Module, num_classes: int, models: Callable[[str], nn.Module], library: str) -> nn.Module:
    """The model of another library with the architecture of ``backbone``.

    Raises:
        InputError: if that library has none.
    """
    kind = type(backbone).__name__
    names = {'ResNet': 'resnet{depth}', 'ResNeXt': 'resnext{depth}_{groups}x{width_per_group}d'}
    usual = dict(
        deep_stem=False,
        avg_down=False,
        strides=(1, 2, 2, 2),
        dilations=(1, 1, 1, 1),
        style='pytorch',
        base_channels=64,
        stem_channels=64,
        num_stages=4,
    )
    different = [f'{name}={getattr(backbone, name, None)}' for name in usual if vars(backbone).get(name) != usual[name]]
    try:
        if different or kind not in names:
            raise ValueError(kind)
        return models(names[kind].format(**vars(backbone)), num_classes)
    except (ValueError, RuntimeError, KeyError) as error:
        settings = f' with {", ".join(different)}' if different and kind in names else ''
        raise InputError(no_counterpart(library, f'{kind}-{getattr(backbone, "depth", "?")}{settings}')) from error


def no_counterpart(library: str, network: str) -> str:
    """One line that says so."""
    return (
        f'{library} has no counterpart of {network} that this package knows: expected a plain ResNet or ResNeXt; use the '
        'format mm or safetensors'
    )


def torchvision_model(name: str, num_classes: int) -> nn.Module:
    import torchvision

    return torchvision.models.get_model(name, weights=None, num_classes=num_classes)


def timm_model(name: str, num_classes: int) -> nn.Module:
    try:
        import timm
    except ImportError as error:
        raise InputError('the format timm needs timm: pip install timm') from error
    return timm.create_model(name, pretrained=False, num_classes=num_classes)


def metadata(checkpoint: dict, metrics: dict | None) -> dict[str, str]:
    """What a reader of the exported file should know: recipe, code and accuracy, as strings."""
    meta = checkpoint.get('meta', {})
    code = meta.get('mixskd_mm', f'{__version__} at export')
    about = dict(
        recipe=str(meta.get('recipe', meta.get('experiment_name', 'unknown'))),
        epoch=str(meta.get('epoch', 'unknown')),
        mixskd_mm=code,
        accuracy='not measured' if metrics is None else ', '.join(f'{k}={v}' for k, v in metrics.items()),
    )
    return about


@cache
def code_version() -> str:
    """Version of this package, with the git commit if it runs from its own repository, ``-dirty`` if that was modified."""
    repository = Path(__file__).resolve().parents[2]

    def git(*arguments: str) -> str:
        return subprocess.run(
            ['git', '-C', str(repository), *arguments], capture_output=True, text=True, check=True
        ).stdout.strip()

    try:
        # An installed package may lie inside somebody else's repository.
        if Path(git('rev-parse', '--show-toplevel')) != repository:
            return __version__
        return f'{__version__}+{git("describe", "--always", "--dirty", "--exclude=*")}'
    except (OSError, subprocess.CalledProcessError):
        return __version__


def content(format: str, state: dict[str, Tensor], about: dict[str, str]) -> dict:
    """What the file of a format holds."""
    if format == 'mm':
        return {'state_dict': state, 'meta': about}
    if format == 'safetensors':
        return {key: value.contiguous() for key, value in state.items()}
    return {torchvision_name(key): value for key, value in state.items()}


def import_safetensors():
    try:
        import safetensors.torch
    except ImportError as error:
        raise InputError('the format safetensors needs safetensors: pip install safetensors') from error
    return safetensors.torch


def load_exported(path: str, format: str, classifier: nn.Module, config: dict) -> nn.Module:
    """Load the written file the way its users do, strictly, into a newly built model."""
    if format == 'safetensors':
        model, state = MODELS.build(config), import_safetensors().load_file(path)
    elif format == 'mm':
        model, state = MODELS.build(config), torch.load(path, weights_only=True)['state_dict']
    else:
        library = {'torchvision': torchvision_model, 'timm': timm_model}[format]
        model = counterpart(classifier.backbone, classifier.head.num_classes, library, format)
        state = torch.load(path, weights_only=True)
    model.load_state_dict(state, strict=True)
    return model.eval()


FORMATS = ('mm', 'torchvision', 'timm', 'safetensors')


def export(
    checkpoint_file: str,
    out: str,
    format: str = 'mm',
    ema: bool = False,
    metrics: dict | None = None,
    network: int = 0,
) -> int:
    """Write the classifier in a training checkpoint to ``out``; read it back and compare outputs before it gets its name.

    Args:
        checkpoint_file (str): A checkpoint of a classifier's training run, MixSKD's or another's.
        out (str): File to write. It appears complete or not at all.
        format (str): ``mm`` (mmpretrain's names, ``backbone.`` first: for mmpretrain, mmdet and mmseg), ``torchvision`` or
            ``timm`` (their names, classifier included) or ``safetensors`` (mm's names). Defaults to ``mm``.
        ema (bool): Export the averaged weights of a run with ``EMAHook``. Defaults to False.
        metrics (dict[str, float], optional): Measured accuracy, to be noted in the file where the format has a place.
        network (int): Which network of a checkpoint that holds two (DCM), 0 or 1. Defaults to 0.

    Returns:
        int: Number of tensors written.

    Raises:
        InputError: if the checkpoint is no classifier's or has no such network, or the format has no counterpart of its
            architecture; if ``out`` is the checkpoint, by whatever name.
    """
    if network not in (0, 1):
        raise InputError(f'network={network!r}: expected 0, or 1 for the second of two networks that DCM trains')
    checkpoint = load_local_checkpoint(checkpoint_file, map_location='cpu')
    check_other_file(out, checkpoint_file)
    state = training_state(checkpoint, checkpoint_file, ema, network)
    config = model_config(checkpoint, checkpoint_file, network)
    classifier = build_classifier(config, state, checkpoint_file)

    @torch.no_grad()
    def check(path: str) -> None:
        images = torch.randn(2, 3, 64, 64, generator=torch.Generator().manual_seed(0))
        try:
            exported = load_exported(path, format, classifier, config)
            torch.testing.assert_close(exported(images), classifier(images))
        except (AssertionError, RuntimeError) as error:
            # The same names, but another network: other norms, plugins, ...
            raise InputError(no_counterpart(format, f'this {type(classifier.backbone).__name__}')) from error

    about = metadata(checkpoint, metrics)
    save = partial(import_safetensors().save, metadata=about) if format == 'safetensors' else as_bytes
    write_file(out, save(content(format, state, about)), check)
    return len(state)
