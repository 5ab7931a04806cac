"""A trained classifier together with the test data of its config."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Sequence

import torch
from mmengine.config import Config
from mmengine.model import revert_sync_batchnorm
from mmengine.registry import DefaultScope
from mmpretrain.models import ImageClassifier
from mmpretrain.registry import DATASETS, MODELS
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, Subset

from mixskd_mm.checkpoints.load import load_weights
from mixskd_mm.datasets.folders import check_data_folders, plain_datasets
from mixskd_mm.errors import InputError
from mixskd_mm.progress import track

from .pairs import pair_order


class LoadedClassifier:
    """A classifier that is only looked at: in evaluation mode, its parameters without gradients.

    Args:
        name (str): What results call it.
        model (ImageClassifier): The trained network.
        dataset (Dataset): Test data: ``dataset[i]['inputs']`` is an image ``(3, H, W)``.
        labels (Sequence[int]): Their class indices.
        batch_size (int): Images a batch. Defaults to 1.
        num_workers (int): Processes that load images. Defaults to 0.
        device (str | torch.device): Where the network computes. Defaults to ``'cpu'``.
        cfg (Config, optional): The config that it was built from. Defaults to None: built otherwise.
    """

    def __init__(
        self,
        name: str,
        model: ImageClassifier,
        dataset: Dataset,
        labels: Sequence[int],
        batch_size: int = 1,
        num_workers: int = 0,
        device: str | torch.device = 'cpu',
        cfg: Config | None = None,
    ) -> None:
        self.name = name
        self.model = model.to(device).eval().requires_grad_(False)
        self.dataset = dataset
        self.labels = torch.as_tensor(labels)
        self.batch_size = batch_size
        self.num_workers = num_workers
        self.device = torch.device(device)
        self.cfg = cfg

    def __len__(self) -> int:
        """Number of test images."""
        return len(self.labels)

    def on(self, dataset: Dataset, labels: Sequence[int] | Tensor) -> LoadedClassifier:
        """The same network with other images and labels."""
        other = copy.copy(self)
        other.dataset, other.labels = dataset, torch.as_tensor(labels)
        return other

    def batches(self, progress: bool = True) -> Iterator[tuple[Tensor, Tensor]]:
        """Images ``(N, 3, H, W)`` as the pipeline gives them and labels ``(N, )``, in the data set's order.

        Shows a progress bar, as :meth:`pairs` does, unless ``progress`` is False.
        """
        return self._load(list(range(len(self))), self.batch_size, progress)

    def pairs(self, seed: int) -> Iterator[tuple[Tensor, Tensor]]:
        """The same for pairs of images: 2N rows i, j, i, j, ..., see :mod:`mixskd_mm.evaluation.pairs`."""
        return self._load(pair_order(len(self), seed), max(2, self.batch_size // 2 * 2))

    def _load(self, order: list[int], batch_size: int, progress: bool = True) -> Iterator[tuple[Tensor, Tensor]]:
        loader = DataLoader(
            Subset(self.dataset, order), batch_size, num_workers=self.num_workers, collate_fn=stack_images
        )
        labels = self.labels[order].split(batch_size)
        batches = zip(loader, labels, strict=True)
        if progress:
            batches = track(batches, self.name, total=len(labels))
        for images, batch_labels in batches:
            yield images.to(self.device), batch_labels.to(self.device)

    def normalise(self, images: Tensor) -> Tensor:
        """The config's data preprocessor: ``(N, 3, H, W)`` from the pipeline to what the network takes; differentiable."""
        return self.model.data_preprocessor(dict(inputs=images))['inputs']

    def logits(self, inputs: Tensor) -> Tensor:
        """f: normalised images ``(N, 3, H, W)`` to logits ``(N, C)`` of the backbone's own head; differentiable."""
        logits = self.model(inputs, mode='tensor')
        if not isinstance(logits, Tensor):
            raise InputError(
                f'{self.name}: head {type(self.model.head).__name__} gives a {type(logits).__name__}: expected one that '
                'gives one tensor of logits'
            )
        return logits


def stack_images(samples: list[dict]) -> Tensor:
    """Images of the samples, ``(N, 3, H, W)``. Raises InputError if their sizes differ."""
    images = [sample['inputs'] for sample in samples]
    shapes = {tuple(image.shape) for image in images}
    if len(shapes) > 1:
        raise InputError(f'test images have the shapes {sorted(shapes)}: expected a pipeline that gives all one shape')
    return torch.stack(images)


def load_classifier(
    name: str,
    cfg: Config,
    checkpoint: str,
    device: str | torch.device = 'cpu',
    images: int | None = None,
    parts: tuple[str, ...] | None = None,
) -> LoadedClassifier:
    """Build the classifier and the test data of ``cfg`` and load the weights of ``checkpoint``.

    Args:
        name (str): What results call the classifier.
        cfg (Config): Config of a classification run.
        checkpoint (str): Its checkpoint, an export of it, torchvision's weights of its ResNet, or an address that mmengine
            loads.
        device (str | torch.device): Where the network computes. Defaults to ``'cpu'``.
        images (int, optional): How many test images to use, evenly spaced over the data set. Defaults to None: all.
        parts (tuple[str, ...], optional): Load only these parts, e.g. ``('backbone.', )``. Defaults to None: all.

    Raises:
        InputError: if ``cfg`` describes no classifier or no labelled test data, has fewer test images, or if the
            checkpoint cannot be read safely or does not fit.
    """
    if not cfg.get('test_dataloader'):
        raise InputError(f'config {cfg.filename} has no test_dataloader: expected test data')
    check_data_folders(cfg, ('test_dataloader',))
    model = build_classifier(cfg, checkpoint, parts)
    dataset, labels = load_images(name, cfg, cfg.test_dataloader.dataset, 'test images', model, images)
    loader = cfg.test_dataloader
    return LoadedClassifier(
        name,
        model,
        dataset,
        labels,
        loader.get('batch_size') or 1,
        loader.get('num_workers') or 0,
        device,
        cfg,
    )


def training_images(classifier: LoadedClassifier, images: int | None = None) -> LoadedClassifier:
    """The classifier on its config's training images, through the pipeline of its test images: nothing is random.

    Args:
        classifier (LoadedClassifier): What :func:`load_classifier` returned.
        images (int, optional): How many, evenly spaced over the data set. Defaults to None: all.

    Raises:
        InputError: if the config has no training images, or those of several data sets; as :func:`load_classifier`.
    """
    cfg = classifier.cfg
    found = list(plain_datasets(cfg.train_dataloader.dataset)) if cfg.get('train_dataloader') else []
    if len(found) != 1:
        raise InputError(f'config {cfg.filename} trains on {len(found)} data sets: expected one')
    check_data_folders(cfg, ('train_dataloader',))
    (test,) = plain_datasets(cfg.test_dataloader.dataset)
    config = dict(found[0], pipeline=test.get('pipeline', ()))
    return classifier.on(*load_images(classifier.name, cfg, config, 'training images', classifier.model, images))


def load_images(
    name: str, cfg: Config, config: dict, kind: str, model: ImageClassifier, images: int | None
) -> tuple[Dataset, list[int]]:
    """A data set, or ``images`` of it that are evenly spaced, and its labels. Raises InputError if it has fewer."""
    with DefaultScope.overwrite_default_scope(cfg.get('default_scope', 'mmpretrain')):
        dataset = DATASETS.build(config)
    dataset.full_init()
    if images is not None:
        if not 1 <= images <= len(dataset):
            raise InputError(f'{images} {kind} asked for: expected 1 to {len(dataset)}, as many as {name} has')
        chosen = [i * len(dataset) // images for i in range(images)]
    else:
        chosen = list(range(len(dataset)))
    labels = [read_label(dataset.get_data_info(i), getattr(model.head, 'num_classes', None)) for i in chosen]
    return Subset(dataset, chosen), labels


def build_classifier(cfg: Config, checkpoint: str, parts: tuple[str, ...] | None = None) -> ImageClassifier:
    """The classifier of ``cfg`` with the weights of ``checkpoint``, or only those of some ``parts`` of it.

    Raises:
        InputError: if ``cfg`` describes no classifier, or the checkpoint cannot be read safely or does not fit.
    """
    with DefaultScope.overwrite_default_scope(cfg.get('default_scope', 'mmpretrain')):
        config = copy.deepcopy(cfg.model)
        if cfg.get('data_preprocessor') is not None:
            config.setdefault('data_preprocessor', copy.deepcopy(cfg.data_preprocessor))
        model = MODELS.build(config)
        if not isinstance(model, ImageClassifier) or not model.with_head:
            raise InputError(
                f'config {cfg.filename} has the model {config.type}: expected an ImageClassifier with a head'
            )
        load_weights(model, checkpoint, parts)
    return revert_sync_batchnorm(model)


def read_label(info: dict, num_classes: int | None) -> int:
    """The label of a test image. Raises InputError unless it is one class index in ``[0, num_classes)``."""
    label = info.get('gt_label')
    # NumPy's integers, too.
    if not hasattr(label, '__index__') or not 0 <= int(label) < (num_classes or float('inf')):
        expected = f'from 0 to {num_classes - 1}' if num_classes else '>= 0'
        raise InputError(
            f'{info.get("img_path", "a test image")} has label {label}: expected one class index {expected}'
        )
    return int(label)
