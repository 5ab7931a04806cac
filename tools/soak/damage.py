"""Ways to damage a file: its bytes, a checkpoint's content, lists, masks and COCO files."""

from __future__ import annotations

import os
import pickle
import random
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch


def cut(data: bytes, rng: random.Random) -> bytes:
    return data[: rng.randrange(1, len(data))]


def empty(data: bytes, rng: random.Random) -> bytes:
    return b''


def zeros(data: bytes, rng: random.Random) -> bytes:
    """A range of at least a tenth of the file became zeros."""
    count = rng.randrange(len(data) // 10, len(data)) or 1
    start = rng.randrange(len(data) - count + 1)
    return data[:start] + bytes(count) + data[start + count :]


def flipped_bits(data: bytes, rng: random.Random) -> bytes:
    damaged = bytearray(data)
    for place in rng.sample(range(len(data)), min(len(data), rng.choice((1, 8, 64)))):
        damaged[place] ^= 1 << rng.randrange(8)
    return bytes(damaged)


def text(data: bytes, rng: random.Random) -> bytes:
    """A page of a server that had no such file."""
    return b'<html><body>404 not found</body></html>\n'


def swapped(data: bytes, rng: random.Random) -> bytes:
    """Two halves in the wrong order."""
    place = rng.randrange(1, len(data))
    return data[place:] + data[:place]


BYTES: dict[str, Callable[[bytes, random.Random], bytes]] = {
    function.__name__: function for function in (cut, empty, zeros, flipped_bits, text, swapped)
}


def damage_bytes(path: Path, way: str, rng: random.Random) -> None:
    """Replace the content of ``path`` with what :data:`BYTES` makes of it."""
    path.write_bytes(BYTES[way](path.read_bytes(), rng))


class Touch:
    """Unpickling it makes the file ``canary``."""

    def __init__(self, canary: Path) -> None:
        self.canary = canary

    def __reduce__(self):
        return os.system, (f'touch {self.canary}',)


def bare_pickle(path: Path, canary: Path) -> None:
    path.write_bytes(pickle.dumps(dict(state_dict={}, meta=Touch(canary))))


def pickle_in_archive(path: Path, canary: Path) -> None:
    torch.save({**read(path), 'message_hub': Touch(canary)}, path)


def config_code(*keys: str) -> Callable[[Path, Path], None]:
    """Function that puts code into the text that stands at ``keys`` of a checkpoint."""

    def spoil(path: Path, canary: Path) -> None:
        checkpoint = read(path)
        place = checkpoint
        for key in keys[:-1]:
            place = place.setdefault(key, {})
        code = f"import pathlib\npathlib.Path('{canary}').touch()\n"
        place[keys[-1]] = code + str(place.get(keys[-1], "model = dict(type='MixSKDClassifier')\n"))
        torch.save(checkpoint, path)

    return spoil


CODE: dict[str, Callable[[Path, Path], None]] = {
    'a pickle': bare_pickle,
    'a pickle in the archive': pickle_in_archive,
    'code in meta.cfg': config_code('meta', 'cfg'),
    'code in meta.config': config_code('meta', 'config'),
    'code in message_hub.runtime_info.cfg': config_code('message_hub', 'runtime_info', 'cfg'),
}


def content(change: Callable[[dict], object]) -> Callable[[Path, random.Random], None]:
    """Function that replaces a checkpoint with what ``change`` returns for its content."""

    def spoil(path: Path, rng: random.Random) -> None:
        torch.save(change(read(path)), path)

    return spoil


def weights(change: Callable[[str, torch.Tensor], dict]) -> Callable[[Path, random.Random], None]:
    """Function that replaces each weight of a checkpoint with the weights that ``change`` returns for it."""

    def changed(checkpoint: dict) -> dict:
        state = {}
        for name, value in checkpoint['state_dict'].items():
            state.update(change(name, value))
        return {**checkpoint, 'state_dict': state}

    return content(changed)


def nan_in(name: str, value: torch.Tensor) -> dict:
    return {name: value * float('nan') if name == 'backbone.layer1.0.conv1.weight' else value}


CONTENT: dict[str, Callable[[Path, random.Random], None]] = {
    'NaN weights': weights(nan_in),
    'no weights of layer4': weights(lambda name, value: {} if 'layer4' in name else {name: value}),
    'transposed weights': weights(lambda name, value: {name: value.transpose(0, -1) if value.ndim > 1 else value}),
    'half of each weight': weights(lambda name, value: {name: value[: len(value) // 2] if value.ndim else value}),
    'weights on the meta device': weights(lambda name, value: {name: value.to('meta')}),
    'a list for a dict': content(lambda checkpoint: list(checkpoint.values())),
    'no weights at all': content(lambda checkpoint: {**checkpoint, 'state_dict': {}}),
    'no optimiser': content(lambda checkpoint: {k: v for k, v in checkpoint.items() if k != 'optimizer'}),
    'no meta': content(lambda checkpoint: {k: v for k, v in checkpoint.items() if k != 'meta'}),
    'a text for the message hub': content(lambda checkpoint: {**checkpoint, 'message_hub': 'text'}),
}


def read(path: Path) -> dict:
    """A checkpoint that this program wrote."""
    return torch.load(path, weights_only=False)


def other_label(lines: list[str], rng: random.Random, label: str) -> list[str]:
    i = rng.randrange(len(lines))
    return lines[:i] + [f'{lines[i].split()[0]} {label}'] + lines[i + 1 :]


LINES: dict[str, Callable[[list[str], random.Random], list[str]]] = {
    'a label too large': lambda lines, rng: other_label(lines, rng, '99'),
    'a negative label': lambda lines, rng: other_label(lines, rng, '-1'),
    'a word for a label': lambda lines, rng: other_label(lines, rng, 'cat'),
    'no label': lambda lines, rng: other_label(lines, rng, ''),
    'a missing image': lambda lines, rng: lines + ['digit-0/missing.png 0'],
    'no lines of one class': lambda lines, rng: [line for line in lines if not line.endswith(' 3')],
    'no lines': lambda lines, rng: [],
}


# What a mask of uint8 with labels 0 to 10 became.
MASKS: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    'labels times 255': lambda mask: np.where(mask > 0, 255, 0).astype(np.uint8),
    'a label too large': lambda mask: np.where(mask == mask.max(), 200, mask).astype(np.uint8),
    'three channels': lambda mask: np.repeat(mask[..., None], 3, axis=2),
    '16 bits': lambda mask: mask.astype(np.uint16) * 257,
    'another size': lambda mask: mask[: mask.shape[0] // 2],
    'only background': lambda mask: np.zeros_like(mask),
}


def each(part: str, **changes) -> Callable[[dict], dict]:
    """Function that sets keys of all annotations or images of a COCO file."""
    return lambda coco: {**coco, part: [{**row, **changes} for row in coco[part]]}


ANNOTATIONS: dict[str, Callable[[dict], dict]] = {
    'no annotations': lambda coco: {**coco, 'annotations': []},
    'no images': lambda coco: {**coco, 'images': []},
    'no list of categories': lambda coco: {key: value for key, value in coco.items() if key != 'categories'},
    'categories in another order': lambda coco: {**coco, 'categories': coco['categories'][::-1]},
    'categories of one name': each('categories', name='1'),
    'unknown categories': each('annotations', category_id=99),
    'unknown images': each('annotations', image_id=999),
    'one image id for all': each('images', id=0),
    'NaN boxes': each('annotations', bbox=[float('nan')] * 4),
    'boxes of 1e30': each('annotations', bbox=[0, 0, 1e30, 1e30]),
    'boxes without an area': each('annotations', bbox=[3, 3, 0, 0], area=0),
    'a missing image': lambda coco: {
        **coco,
        'images': [*coco['images'], dict(coco['images'][0], id=77, file_name='missing.png')],
        'annotations': [*coco['annotations'], dict(coco['annotations'][0], id=7777, image_id=77)],
    },
}
