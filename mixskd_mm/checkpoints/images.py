"""Which images a trained classifier needs, from the config of its run."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass

from mixskd_mm.errors import InputError

# They give images, in this order of channels, without a transform that loads them.
RGB_DATASETS = ('CIFAR10', 'CIFAR100')
CENTRE_CROPS = ('CenterCrop', 'EfficientNetCenterCrop')
CHANNELS = {'RGB': 3, 'BGR': 3, 'grayscale': 1}


@dataclass(frozen=True)
class Images:
    """What a network takes: ``(pixels - mean) / std`` of pixels from 0 to 255.

    Attributes:
        mean, std (tuple[float, ...]): Of each channel, in units of 0 to 255.
        channels (str): ``'RGB'``, ``'BGR'`` or ``'grayscale'``.
        size (tuple[int, int], optional): (H, W) in tests; None if the run does not say.
        resized (int | tuple[int, int], optional): What was cropped from: the shorter edge, or (H, W); None if images were
            not resized before.
        interpolation (str): How they were resized.
    """

    mean: tuple[float, ...]
    std: tuple[float, ...]
    channels: str
    size: tuple[int, int] | None = None
    resized: int | tuple[int, int] | None = None
    interpolation: str = 'bilinear'

    def __str__(self) -> str:
        size = f' of {self.size[0]} x {self.size[1]} pixels' if self.size else ''
        how = []
        if isinstance(self.resized, int):
            how.append(f'shorter edge resized to {self.resized} ({self.interpolation})')
        elif self.resized:
            how.append(f'resized to {self.resized[0]} x {self.resized[1]} ({self.interpolation})')
        if self.resized and self.size and self.resized != self.size:
            how.append('centre crop')
        how = f' ({", ".join(how)})' if how else ''
        return (
            f'{self.channels} images{size}{how}, pixels 0 to 255 minus mean {rounded(self.mean)} over std '
            f'{rounded(self.std)}'
        )

    def metadata(self) -> dict[str, str]:
        """The same as strings: numbers as JSON."""
        about = dict(
            images=str(self), mean=json.dumps(self.mean), std=json.dumps(self.std), channel_order=self.channels
        )
        if self.size:
            about['input_size'] = json.dumps([len(self.mean), *self.size])
        return about


def rounded(values: Sequence[float]) -> list[float]:
    """For people: 4 digits after the point."""
    return [round(value, 4) for value in values]


def images_of(config: dict, source: str) -> Images | None:
    """What the classifier of a run takes in tests, or None if the config does not say how its images are normalised.

    Args:
        config (dict): The run's, as literals.
        source (str): The file that carries it, for messages.

    Raises:
        InputError: if mean and std are no lists of numbers of equal length.
    """
    model = config.get('model')
    preprocessor = (model.get('data_preprocessor') if isinstance(model, dict) else None) or config.get(
        'data_preprocessor'
    )
    loader = next((config[f'{name}_dataloader'] for name in ('test', 'val', 'train') if loads(config, name)), None)
    if not isinstance(preprocessor, dict) or loader is None:
        return None
    dataset = innermost(loader['dataset'])
    pipeline = transforms(dataset)
    channels = channel_order(dataset, pipeline, bool(preprocessor.get('to_rgb', False)))
    # A pipeline may do what the preprocessor usually does; then nothing here is certain.
    if channels is None or any(str(step['type']).rpartition('.')[2] == 'Normalize' for step in pipeline):
        return None
    count = CHANNELS[channels]
    mean, std = (preprocessor.get(name) for name in ('mean', 'std'))
    mean, std = ([0.0] * count, [1.0] * count) if mean is None else (mean, std)
    for name, values in (('mean', mean), ('std', std)):
        if (
            not isinstance(values, list | tuple)
            or not all(isinstance(value, int | float) for value in values)
            or len(values) not in (1, count)
        ):
            raise InputError(
                f'checkpoint {source}: data_preprocessor.{name}={values!r}: expected {count} numbers, one per channel'
            )
    mean, std = (tuple(float(value) for value in values) * (count // len(values)) for values in (mean, std))
    size, resized, interpolation = size_in_tests(pipeline)
    if size is None and loads(config, 'train'):
        size = size_in_training(transforms(innermost(config['train_dataloader']['dataset'])))
    return Images(mean, std, channels, size, resized, interpolation)


def loads(config: dict, name: str) -> bool:
    loader = config.get(f'{name}_dataloader')
    return isinstance(loader, dict) and isinstance(loader.get('dataset'), dict)


def innermost(dataset: dict) -> dict:
    """The data set in wrappers such as RepeatDataset, the first one of several."""
    while True:
        inner = dataset.get('dataset')
        if isinstance(dataset.get('datasets'), list | tuple) and dataset['datasets']:
            inner = dataset['datasets'][0]
        if not isinstance(inner, dict):
            return dataset
        dataset = inner


def transforms(dataset: dict) -> list[dict]:
    """The pipeline's settings."""
    pipeline = dataset.get('pipeline')
    return [step for step in pipeline or [] if isinstance(step, dict) and 'type' in step]


def channel_order(dataset: dict, pipeline: list[dict], to_rgb: bool) -> str | None:
    """Order of the channels that the network gets, or None if it is not known."""
    loading = [step for step in pipeline if step['type'] == 'LoadImageFromFile']
    if not loading:
        loaded = 'RGB' if dataset.get('type') in RGB_DATASETS else None
    elif loading[0].get('color_type', 'color') in ('grayscale', 'unchanged'):
        loaded = 'grayscale' if loading[0]['color_type'] == 'grayscale' else None
    else:
        # mmcv gives this order, whichever library decodes.
        loaded = 'BGR'
    swapped = {'RGB': 'BGR', 'BGR': 'RGB'}
    return swapped.get(loaded, loaded) if to_rgb else loaded


def pair(value) -> tuple[int, int] | None:
    """(H, W) of a setting that is one number or (W, H), as mmcv has it."""
    if isinstance(value, int):
        return value, value
    if isinstance(value, list | tuple) and len(value) == 2 and all(isinstance(one, int) for one in value):
        return value[1], value[0]
    return None


def size_in_tests(pipeline: list[dict]) -> tuple[tuple[int, int] | None, int | tuple[int, int] | None, str]:
    """(H, W) of a test image, what it was resized to before cropping, and how, from the pipeline's settings."""
    size, resized, interpolation = None, None, 'bilinear'
    for step in pipeline:
        if step['type'] == 'ResizeEdge' and step.get('edge', 'short') == 'short' and isinstance(step.get('scale'), int):
            size, resized = None, step['scale']
        elif step['type'] == 'Resize' and not step.get('keep_ratio'):
            size = resized = pair(step.get('scale'))
        elif step['type'] in CENTRE_CROPS:
            size = pair(step.get('crop_size'))
        else:
            continue
        if step['type'] not in CENTRE_CROPS:
            interpolation = str(step.get('interpolation', 'bilinear'))
    return size, resized, interpolation


def size_in_training(pipeline: list[dict]) -> tuple[int, int] | None:
    """(H, W) of a training image: for small images, which tests take as they are."""
    sizes = {'RandomCrop': 'crop_size', 'RandomResizedCrop': 'scale'}
    values = [step.get(sizes[step['type']]) for step in pipeline if step['type'] in sizes]
    # mmpretrain has (H, W) here.
    found = pair(values[-1]) if values else None
    return found if found is None or isinstance(values[-1], int) else found[::-1]
