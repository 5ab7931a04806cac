"""The formats of an export: what their files hold, and how their users load them."""

from __future__ import annotations

import json
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import torch
from mmpretrain.registry import MODELS
from torch import Tensor, nn

from mixskd_mm.errors import InputError

from .counterparts import (
    counterpart,
    detectron2_name,
    detectron2_settings,
    timm_model,
    torchvision_model,
    torchvision_name,
)
from .images import CHANNELS, Images
from .model_card import model_card, timm_config
from .onnx_file import onnx_bytes, onnx_session
from .requirement import required
from .write import as_bytes

# What a file, or a folder's files by name, hold.
Content = bytes | memoryview | dict[str, bytes]
Network = Callable[[Tensor], Tensor]


@dataclass(frozen=True)
class Trained:
    """A plain classifier that was trained, and what is known of it.

    Attributes:
        classifier (nn.Module): In eval mode.
        config (dict): What it is built from.
        about (dict[str, str]): Recipe, code, accuracy.
        images (Images, optional): What it takes; None if the checkpoint does not say.
        classes (tuple[str, ...], optional): Names by label.
        source (str): The training checkpoint, for messages.
    """

    classifier: nn.Module
    config: dict
    about: dict[str, str]
    images: Images | None
    classes: tuple[str, ...] | None
    source: str

    @property
    def state(self) -> dict[str, Tensor]:
        return self.classifier.state_dict()

    @property
    def input_channels(self) -> int:
        """Channels of an image: what the first convolution takes."""
        if self.images is not None:
            return CHANNELS[self.images.channels]
        return next((value.shape[1] for value in self.state.values() if value.dim() == 4), 3)

    def metadata(self) -> dict[str, str]:
        """All that is known, as strings; classes and numbers as JSON."""
        images = self.images.metadata() if self.images else {'images': 'unknown'}
        classes = {'classes': json.dumps(self.classes, ensure_ascii=False)} if self.classes else {}
        return {**self.about, **images, **classes}


@dataclass(frozen=True)
class Format:
    """A format of an export.

    Attributes:
        text (str): Who reads it, for ``--help``.
        content (Callable): What is written.
        load (Callable): The network in a written file or folder, as its users load it.
        exact (bool): Whether the same operations run as in the original, so that only rounding may differ.
        suffixes (tuple[str, ...]): How the file's name has to end; any if empty.
        name (Callable): A tensor's name in the file, None for those that are left out.
    """

    text: str
    content: Callable[[Trained], Content]
    load: Callable[[str, Trained], Network]
    exact: bool = True
    suffixes: tuple[str, ...] = ()
    name: Callable[[str], str | None] = str

    def count(self, trained: Trained) -> int:
        """Number of tensors that are written."""
        return sum(self.name(key) is not None for key in trained.state)


def mm_content(trained: Trained) -> Content:
    meta = trained.metadata()
    if trained.classes:
        # Where mmpretrain's inferencers look for the names.
        meta['dataset_meta'] = dict(classes=list(trained.classes))
        del meta['classes']
    return as_bytes({'state_dict': trained.state, 'meta': meta})


def load_mm(path: str, trained: Trained) -> Network:
    return with_state(MODELS.build(trained.config), torch.load(path, weights_only=True)['state_dict'])


def with_state(model: nn.Module, state: dict[str, Tensor]) -> nn.Module:
    model.load_state_dict(state, strict=True)
    return model.eval()


def pth_content(trained: Trained) -> Content:
    """A plain state dict for ``load_state_dict``; what is known of it is its attribute ``meta``."""
    state = OrderedDict((torchvision_name(key), value) for key, value in trained.state.items())
    state.meta = trained.metadata()
    return as_bytes(state)


def load_pth(path: str, trained: Trained, models: Callable, library: str) -> Network:
    model = counterpart(trained.classifier.backbone, trained.classifier.head.num_classes, models, library)
    return with_state(model, torch.load(path, weights_only=True))


def safetensors_bytes(state: dict[str, Tensor], metadata: dict[str, str], format: str) -> bytes:
    tensors = {key: value.contiguous() for key, value in state.items()}
    return required('safetensors.torch', format).save(tensors, metadata=metadata)


def safetensors_content(trained: Trained) -> Content:
    return safetensors_bytes(trained.state, trained.metadata(), 'safetensors')


def load_safetensors(path: str, trained: Trained) -> Network:
    return with_state(MODELS.build(trained.config), required('safetensors.torch', 'safetensors').load_file(path))


def timm_folder_content(trained: Trained) -> Content:
    if trained.images is None:
        raise InputError(
            f'checkpoint {trained.source} does not say how its images are normalised, which the format timm-folder '
            'states: expected a data_preprocessor and an image pipeline in its config'
        )
    if trained.images.channels != 'RGB':
        raise InputError(
            f'checkpoint {trained.source} takes {trained.images.channels} images, timm gives RGB: expected a network of RGB '
            'images for the format timm-folder'
        )
    required('timm', 'timm-folder')
    backbone, classes = trained.classifier.backbone, trained.classifier.head.num_classes
    model = counterpart(backbone, classes, timm_model, 'timm')
    state = {torchvision_name(key): value for key, value in trained.state.items()}
    metadata = {'format': 'pt', **trained.metadata()}
    return {
        'model.safetensors': safetensors_bytes(state, metadata, 'timm-folder'),
        'config.json': timm_config(model, trained.images, trained.classes).encode(),
        'README.md': model_card(model, trained.about, trained.images, trained.classes).encode(),
    }


def load_timm_folder(path: str, trained: Trained) -> Network:
    return required('timm', 'timm-folder').create_model(f'local-dir:{path}', pretrained=True).eval()


def detectron2_content(trained: Trained) -> Content:
    """The backbone, as detectron2's checkpointer reads it."""
    counterpart(trained.classifier.backbone, trained.classifier.head.num_classes, torchvision_model, 'detectron2')
    settings = detectron2_settings(trained.classifier.backbone)
    if trained.images:
        settings.append(f'INPUT.FORMAT={trained.images.channels}')
        settings += [f'MODEL.PIXEL_MEAN={list(trained.images.mean)}', f'MODEL.PIXEL_STD={list(trained.images.std)}']
    named = {detectron2_name(key): value for key, value in trained.state.items()}
    named.pop(None)
    meta = {**trained.metadata(), 'settings': ' '.join(setting.replace(', ', ',') for setting in settings)}
    return as_bytes({'model': named, '__author__': 'mixskd_mm', 'matching_heuristics': True, 'meta': meta})


def load_detectron2(path: str, trained: Trained) -> Network:
    """Through torchvision's model, whose names are known too."""
    file = torch.load(path, weights_only=True)['model']
    state = {torchvision_name(key): file.get(detectron2_name(key), value) for key, value in trained.state.items()}
    classes = trained.classifier.head.num_classes
    return with_state(counterpart(trained.classifier.backbone, classes, torchvision_model, 'detectron2'), state)


def onnx_content(trained: Trained, size: tuple[int, int] | None = None) -> Content:
    """``size``: (H, W) of the images that the file takes; None for the recipe's."""
    size = size or (trained.images.size if trained.images else None)
    if size is None:
        raise InputError(
            f'checkpoint {trained.source} does not say how large its images are: expected --size, in pixels'
        )
    return onnx_bytes(trained.classifier, (trained.input_channels, *size), trained.metadata())


FORMATS = {
    'mm': Format('mmpretrain, mmdet, mmseg', mm_content, load_mm),
    'torchvision': Format(
        'torchvision', pth_content, partial(load_pth, models=torchvision_model, library='torchvision')
    ),
    'timm': Format('timm', pth_content, partial(load_pth, models=timm_model, library='timm')),
    'timm-folder': Format(
        "timm's local-dir: and the Hugging Face hub, a folder", timm_folder_content, load_timm_folder
    ),
    'safetensors': Format("safetensors with mmpretrain's names", safetensors_content, load_safetensors),
    'onnx': Format('ONNX', onnx_content, onnx_session, exact=False),
    'detectron2': Format(
        "detectron2's ResNets, the backbone",
        detectron2_content,
        load_detectron2,
        suffixes=('.pth',),
        name=detectron2_name,
    ),
}
