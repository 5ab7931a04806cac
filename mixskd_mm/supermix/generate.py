"""Fill a folder with mixed images: sources from a training set, masks from a supervisor."""

from __future__ import annotations

import hashlib
import json
import random
import time
from copy import deepcopy
from dataclasses import asdict, dataclass

import numpy as np
import torch
from mmengine.config import Config
from mmengine.registry import DefaultScope
from mmpretrain.registry import DATASETS
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, ProgressColumn, TimeRemainingColumn
from rich.text import Text
from torch import Tensor

from mixskd_mm.datasets.folders import check_data_folders, plain_datasets, type_name
from mixskd_mm.errors import InputError
from mixskd_mm.evaluation.loading import LoadedClassifier, build_classifier, read_label

from .folder import SuperMixFolder
from .optimise import MaskSettings, SuperMixed, supermix
from .picture import draw_sample

# Batches without any image to keep, after which there is little hope for the next ones.
PATIENCE = 10


@dataclass(frozen=True)
class Job:
    """What determines the images, beside the supervisor and its training set.

    Args:
        masks (MaskSettings): How images are mixed.
        classes (str): ``'label'``, the images' labels, or ``'supervisor'``, what the supervisor takes them for, as in the
            authors' code.
        keep_unsuccessful (bool): Whether to keep mixed images in which the supervisor does not see the classes.
        batch_size (int): B, images that are mixed with each other.
        seed (int): Of order, shares and augmentation.
    """

    masks: MaskSettings
    classes: str = 'label'
    keep_unsuccessful: bool = False
    batch_size: int = 100
    seed: int = 0

    def __post_init__(self) -> None:
        if self.classes not in ('label', 'supervisor'):
            raise InputError(f"SuperMix classes={self.classes!r}: expected 'label' or 'supervisor'")
        if type(self.batch_size) is not int or self.batch_size < self.masks.num_sources:
            raise InputError(
                f'SuperMix batch_size={self.batch_size!r}: expected an integer >= {self.masks.num_sources}, the images '
                'that are mixed into one'
            )
        if type(self.seed) is not int or self.seed < 0:
            raise InputError(f'SuperMix seed={self.seed!r}: expected an integer >= 0')


class Generator:
    """Makes batches of mixed images; each depends on job, supervisor, training set and its number alone.

    Args:
        supervisor (LoadedClassifier): The network, and its training set with a pipeline that gives images ``(3, H, W)``.
        job (Job): How to mix.
        channel_order (str): ``'rgb'`` or ``'bgr'``: of the images that the training set gives.

    Raises:
        InputError: if the training set is smaller than a batch.
    """

    def __init__(self, supervisor: LoadedClassifier, job: Job, channel_order: str) -> None:
        if len(supervisor) < job.batch_size:
            raise InputError(
                f'the training set has {len(supervisor)} images: expected at least batch_size={job.batch_size}'
            )
        self.supervisor = supervisor
        self.job = job
        self.channel_order = channel_order

    def source_images(self, batch: int) -> list[int]:
        """Which images of the training set batch number ``batch`` is made of.

        The set is gone through again and again, in another order each time; what is left at the end, less than a batch, is
        skipped.
        """
        per_pass = len(self.supervisor) // self.job.batch_size
        number, place = divmod(batch, per_pass)
        order = np.random.default_rng([self.job.seed, number, *b'order']).permutation(len(self.supervisor))
        return order[place * self.job.batch_size : (place + 1) * self.job.batch_size].tolist()

    def load(self, batch: int, images: list[int]) -> Tensor:
        """The images ``(B, 3, H, W)`` as the pipeline gives them, its random numbers depending on seed, batch and place."""
        loaded = []
        for place, image in enumerate(images):
            first, second = np.random.SeedSequence([self.job.seed, batch, place]).generate_state(2).tolist()
            random.seed(first)
            np.random.seed(second)
            torch.manual_seed(first)
            loaded.append(self.supervisor.dataset[image]['inputs'])
        shapes = {tuple(image.shape) for image in loaded}
        if len(shapes) > 1 or next(iter(shapes))[0] != 3:
            raise InputError(f'training images have the shapes {sorted(shapes)}: expected one, (3, H, W)')
        return torch.stack(loaded).to(self.supervisor.device)

    def make(self, batch: int) -> tuple[Tensor, SuperMixed, list[dict]]:
        """Batch number ``batch``: normalised source images, what they were mixed to, and a record of each mixed image."""
        images = self.source_images(batch)
        inputs = self.supervisor.normalise(self.load(batch, images))
        labels = self.supervisor.labels[images].to(inputs.device)
        rng = np.random.default_rng([self.job.seed, batch, *b'shares'])
        given = labels if self.job.classes == 'label' else None
        mixed = supermix(self.supervisor.logits, inputs, rng, given, self.job.masks)
        result = mixed.optimised
        columns = dict(
            sources=torch.tensor(images).to(mixed.sources)[mixed.sources],
            labels=labels[mixed.sources],
            classes=mixed.classes,
            weights=mixed.weights,
            supervisor=result.logits.argmax(dim=1),
            successful=result.successful,
            steps=result.steps,
        )
        # Shares to six digits.
        rows = zip(*(column.cpu().tolist() for column in columns.values()), strict=True)
        records = []
        for place, row in enumerate(rows):
            record = dict(index=batch * self.job.batch_size + place, **dict(zip(columns, row, strict=True)))
            records.append(dict(record, weights=[round(weight, 6) for weight in record['weights']]))
        return inputs, mixed, records

    def to_pictures(self, inputs: Tensor) -> np.ndarray:
        """Normalised images ``(N, 3, H, W)`` as ``(N, H, W, 3)``, uint8, BGR."""
        preprocessor = self.supervisor.model.data_preprocessor
        images = inputs
        if preprocessor._enable_normalize:
            images = images * preprocessor.std + preprocessor.mean
        pictures = images.round().clamp(0, 255).byte().permute(0, 2, 3, 1).cpu().numpy()
        # Normalising may have changed the order.
        is_rgb = (self.channel_order == 'rgb') != preprocessor.to_rgb
        return np.ascontiguousarray(pictures[..., ::-1]) if is_rgb else pictures


def load_generator(cfg: Config, checkpoint: str, job: Job, device: str) -> tuple[Generator, dict]:
    """The generator that a classifier's config and checkpoint describe, and the settings of its folder.

    The images are those of ``train_dataloader``, read and cropped as those of ``test_dataloader``, but for what is random
    here: crops of the same size in the place of central ones, and flips if training has them. That is what the authors'
    code does on CIFAR-100 (flips alone) and, but for 260 px in the place of 256, on ImageNet.

    Raises:
        InputError: if the config describes no classifier or no labelled images, or the checkpoint does not fit.
    """
    for loader in ('train_dataloader', 'test_dataloader'):
        if not cfg.get(loader):
            raise InputError(f'config {cfg.filename} has no {loader}: expected one')
    check_data_folders(cfg, ('train_dataloader',))
    model = build_classifier(cfg, checkpoint)
    config = deepcopy(cfg.train_dataloader.dataset)
    if type_name(config) == 'OnDeviceDataset':
        config = config['dataset']
    pipeline = source_pipeline(cfg)
    for part in plain_datasets(config):
        part['pipeline'] = pipeline
    with DefaultScope.overwrite_default_scope(cfg.get('default_scope', 'mmpretrain')):
        dataset = DATASETS.build(config)
    dataset.full_init()
    num_classes = getattr(model.head, 'num_classes', None)
    labels = [read_label(dataset.get_data_info(i), num_classes) for i in range(len(dataset))]
    supervisor = LoadedClassifier('supervisor', model, dataset, labels, job.batch_size, device=device)
    # mmcv decodes files to BGR; data sets that hold their images, such as CIFAR, have RGB.
    reads_files = any(type_name(step).startswith('LoadImage') for step in pipeline)
    order = 'bgr' if reads_files else 'rgb'
    settings = dict(
        **asdict(job),
        num_classes=num_classes,
        class_names=to_json(dataset.metainfo.get('classes')),
        channel_order=order,
        pipeline=to_json(pipeline),
        model=to_json(cfg.model),
        preprocessor=to_json(cfg.get('data_preprocessor')),
        weights_sha256=digest(*(value.cpu().numpy().tobytes() for value in model.state_dict().values())),
        training_images=len(labels),
        labels_sha256=digest(json.dumps(labels).encode()),
    )
    return Generator(supervisor, job, order), settings


def source_pipeline(cfg: Config) -> list[dict]:
    """How source images are read: see :func:`load_generator`."""
    pipeline = [deepcopy(step) for step in cfg.test_dataloader.dataset.get('pipeline') or ()]
    for step in pipeline:
        if type_name(step) == 'CenterCrop':
            step['type'] = 'RandomCrop'
    training = next(plain_datasets(cfg.train_dataloader.dataset)).get('pipeline') or ()
    flips = [deepcopy(step) for step in training if type_name(step) == 'RandomFlip']
    return [*pipeline[:-1], *flips, *pipeline[-1:]]


def digest(*parts: bytes) -> str:
    """SHA-256 of the parts, one after the other."""
    found = hashlib.sha256()
    for part in parts:
        found.update(part)
    return found.hexdigest()


def to_json(value):
    """A part of a config in JSON's types; classes and functions by their names."""
    return json.loads(json.dumps(value, default=lambda part: getattr(part, '__name__', str(part))))


def generate(generator: Generator, folder: SuperMixFolder, count: int, console: Console) -> dict:
    """Make batches until the folder has ``count`` images, beside whatever other processes make.

    Returns:
        dict: Of the folder: ``images``, ``success`` (percentage of the mixed images) and ``steps`` (mean of the images that
        were kept). Of this process: ``made``, the images that it kept, and ``seconds``.

    Raises:
        InputError: if no image succeeds.
    """
    start, made = time.monotonic(), 0
    columns = (
        '[progress.description]{task.description}',
        BarColumn(),
        MofNCompleteColumn(),
        Rate(),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=console) as progress:
        task = progress.add_task('mixing', total=count, completed=min(folder.total('kept'), count))
        while not folder.finish(count):
            with folder.next_batch(count) as number:
                if number is None:
                    # Other processes make what is missing.
                    time.sleep(0.2)
                else:
                    made += make_batch(generator, folder, number)
            progress.update(task, completed=min(folder.total('kept'), count))
            if len(folder.batches()) >= PATIENCE and not folder.total('kept'):
                raise InputError(
                    f'none of {folder.total("tried")} mixed images succeeded: expected a supervisor that is right for more '
                    'training images, other masks, or --keep-unsuccessful'
                )
    return dict(
        images=count,
        success=100 * folder.total('successful') / folder.total('tried'),
        steps=folder.total('steps') / folder.total('kept'),
        made=made,
        seconds=time.monotonic() - start,
    )


def make_batch(generator: Generator, folder: SuperMixFolder, number: int) -> int:
    """Make and write one batch, whose lock is held. Returns the number of images that were kept."""
    inputs, mixed, records = generator.make(number)
    kept = [i for i, record in enumerate(records) if generator.job.keep_unsuccessful or record['successful']]
    pictures = generator.to_pictures(mixed.optimised.images)
    if number == 0:
        names = generator.supervisor.dataset.metainfo.get('classes')
        draw_sample(str(folder.path / 'sample.png'), generator.to_pictures(inputs), pictures, mixed, kept, names)
    folder.write_batch(number, pictures[kept], [records[i] for i in kept], tried=len(records))
    return len(kept)


class Rate(ProgressColumn):
    """Images per second, of all processes that fill the folder."""

    def render(self, task) -> Text:
        return Text('' if task.speed is None else f'{task.speed:.1f} images/s')
