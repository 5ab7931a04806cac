"""From a training checkpoint to weights that other libraries load."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from functools import cache
from pathlib import Path

import torch
from mmpretrain.registry import MODELS
from torch import Tensor, nn

from mixskd_mm.datasets.class_names import class_names
from mixskd_mm.errors import InputError, last_line
from mixskd_mm.models.methods.dcm import peer_config
from mixskd_mm.version import __version__

from .config_text import literal_config
from .counterparts import no_counterpart
from .formats import FORMATS, Trained
from .images import images_of
from .load import check_values
from .parts import PEER, network_part, without_wrapper
from .safe_load import load_local_checkpoint
from .structure import check_classes
from .write import check_other_file, write_file, write_folder


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


def read_training(checkpoint_file: str, ema: bool = False, metrics: dict | None = None, network: int = 0) -> Trained:
    """The plain classifier in a training checkpoint, with what is known of it.

    Arguments and errors are those of :func:`export`.
    """
    if network not in (0, 1):
        raise InputError(f'network={network!r}: expected 0, or 1 for the second of two networks that DCM trains')
    checkpoint = load_local_checkpoint(checkpoint_file, map_location='cpu')
    state = training_state(checkpoint, checkpoint_file, ema, network)
    config = model_config(checkpoint, checkpoint_file, network)
    classifier = build_classifier(config, state, checkpoint_file)
    check_classes(checkpoint, f'checkpoint {checkpoint_file}')
    classes = class_names(checkpoint['meta'].get('dataset_meta'))
    if classes is not None and len(classes) != classifier.head.num_classes:
        raise InputError(
            f'checkpoint {checkpoint_file} names {len(classes)} classes (meta.dataset_meta) and its model has '
            f'{classifier.head.num_classes}: expected as many'
        )
    images = images_of(literal_config(checkpoint['meta']['cfg']), checkpoint_file)
    return Trained(classifier, config, metadata(checkpoint, metrics), images, classes, checkpoint_file)


def write_export(trained: Trained, out: str, format: str, size: tuple[int, int] | None = None) -> int:
    """Write what :func:`read_training` gave, and compare outputs before it gets its name.

    Arguments, result and errors are those of :func:`export`.
    """
    kind = FORMATS[format]
    if size is not None and format != 'onnx':
        raise InputError(f'size={size!r} with the format {format}: expected it with onnx, whose files fix the size')
    if kind.suffixes and not out.endswith(kind.suffixes):
        raise InputError(f'{out}: expected a name that ends in {" or ".join(kind.suffixes)} for the format {format}')
    check_other_file(out, trained.source)
    shape = size or (trained.images and trained.images.size) or (64, 64)
    images = torch.randn(3, trained.input_channels, *shape, generator=torch.Generator().manual_seed(0))
    expected = outputs(trained.classifier, images)
    if not expected.isfinite().all():
        raise InputError(
            f'checkpoint {trained.source} gives NaN or an infinity for ordinary images: expected sound weights and '
            'running statistics'
        )

    content = kind.content(trained, size) if format == 'onnx' else kind.content(trained)

    def check(path: str) -> None:
        try:
            network = kind.load(path, trained)
            # In one file, batches may be of any size.
            for count in (1, 3):
                compare(outputs(network, images[:count]), expected[:count], kind.exact)
        except (AssertionError, RuntimeError) as error:
            if not kind.exact:
                raise InputError(f'{out}: the outputs in the format {format} differ: {last_line(error)}') from error
            # The same names, but another network: other norms, plugins, ...
            network = f'this {type(trained.classifier.backbone).__name__}'
            raise InputError(no_counterpart(format, network)) from error

    if isinstance(content, dict):
        write_folder(out, content, check)
    else:
        write_file(out, content, check)
    return kind.count(trained)


@torch.no_grad()
def outputs(network: Callable[[Tensor], Tensor], images: Tensor) -> Tensor:
    return network(images)


def compare(found: Tensor, expected: Tensor, exact: bool) -> None:
    """Raise AssertionError unless the outputs agree: up to the order of sums, or for another runtime, its own kernels."""
    tolerance = {} if exact else dict(rtol=0, atol=1e-4 * max(1.0, expected.abs().max().item()))
    torch.testing.assert_close(found, expected, **tolerance)


def export(
    checkpoint_file: str,
    out: str,
    format: str = 'mm',
    ema: bool = False,
    metrics: dict | None = None,
    network: int = 0,
    size: tuple[int, int] | None = None,
) -> int:
    """Write the classifier in a training checkpoint to ``out``; read it back and compare outputs before it gets its name.

    Args:
        checkpoint_file (str): A checkpoint of a classifier's training run, MixSKD's or another's.
        out (str): File to write, for ``timm-folder`` a folder. It appears complete or not at all.
        format (str): One of :data:`~mixskd_mm.checkpoints.formats.FORMATS`: ``mm`` (mmpretrain's names, ``backbone.``
            first: for mmpretrain, mmdet and mmseg), ``torchvision`` or ``timm`` (their names, classifier included),
            ``timm-folder`` (weights, config.json and README.md for timm's ``local-dir:`` and the Hugging Face hub),
            ``safetensors`` (mm's names), ``onnx`` or ``detectron2`` (the backbone). Defaults to ``mm``.
        ema (bool): Export the averaged weights of a run with ``EMAHook``. Defaults to False.
        metrics (dict[str, float], optional): Measured accuracy, to be noted in the file.
        network (int): Which network of a checkpoint that holds two (DCM), 0 or 1. Defaults to 0.
        size (tuple[int, int], optional): (H, W) of the images that an ONNX file takes. Defaults to None: the recipe's in
            tests.

    Returns:
        int: Number of tensors written.

    Raises:
        InputError: if the checkpoint is no classifier's or has no such network, if its weights or outputs are not finite,
            or the format has no counterpart of its architecture; if ``out`` is the checkpoint, by whatever name; if a
            library that the format needs is missing.
    """
    return write_export(read_training(checkpoint_file, ema, metrics, network), out, format, size)
