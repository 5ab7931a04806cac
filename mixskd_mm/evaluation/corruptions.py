"""Accuracy on common corruptions: CIFAR-C and ImageNet-C from their archives, or what the library imagecorruptions makes."""

from __future__ import annotations

import contextlib
import os
import statistics
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import torch
from mmengine.dataset import Compose
from torch.utils.data import Dataset, Subset

from mixskd_mm.errors import InputError
from mixskd_mm.progress import track

from .loading import LoadedClassifier

# In the papers' order; the benchmark's, without the four that are for validation.
CORRUPTIONS = (
    *('gaussian_noise', 'shot_noise', 'impulse_noise'),
    *('defocus_blur', 'glass_blur', 'motion_blur', 'zoom_blur'),
    *('snow', 'frost', 'fog', 'brightness'),
    *('contrast', 'elastic_transform', 'pixelate', 'jpeg_compression'),
)
SEVERITIES = (1, 2, 3, 4, 5)
# AlexNet's top-1 errors on ImageNet-C, means over the severities: what mCE is relative to (Hendrycks and Dietterich, 2019).
ALEXNET = dict(
    zip(
        CORRUPTIONS,
        (0.886428, 0.894468, 0.922640, 0.819880, 0.826268, 0.785948, 0.798360)
        + (0.866816, 0.826572, 0.819324, 0.564592, 0.853204, 0.646056, 0.717840, 0.606500),
        strict=True,
    )
)


class CifarC(Dataset):
    """Test images of CIFAR, corrupted: those of ``<corruption>.npy``, through the pipeline of the clean ones.

    Args:
        clean (Subset): The clean images: some of a CIFAR data set of mmpretrain.
        folder (str): Of the archive, e.g. ``data/CIFAR-100-C``.
        corruption (str): Name of a file in it, without ``.npy``: ``(5 N, 32, 32, 3)``, uint8, RGB, one severity after
            another.
        severity (int): From 1 to 5.

    Raises:
        InputError: if a file is missing or damaged, has other images than the data set, or the data set is no CIFAR.
    """

    def __init__(self, clean: Subset, folder: str, corruption: str, severity: int) -> None:
        self.clean, count = clean, len(clean.dataset)
        self.images = load_array(os.path.join(folder, f'{corruption}.npy'))
        labels = load_array(os.path.join(folder, 'labels.npy'))
        if self.images.ndim != 4 or len(self.images) != 5 * count or len(labels) not in (count, 5 * count):
            raise InputError(
                f'{folder}: {corruption}.npy has the shape {self.images.shape}, labels.npy {labels.shape}: expected 5 x '
                f'{count} images and labels, as the test data has {count}'
            )
        infos = [clean.dataset.get_data_info(i) for i in clean.indices]
        if not all('img' in info for info in infos):
            raise InputError(f'{folder} holds the images of CIFAR: expected a config whose test data is CIFAR')
        if [int(labels[i]) for i in clean.indices] != [int(info['gt_label']) for info in infos]:
            raise InputError(f'{folder}/labels.npy has other labels than the test data: expected the same images')
        self.start = (severity - 1) * count

    def __len__(self) -> int:
        return len(self.clean)

    def __getitem__(self, i: int) -> dict:
        index = self.clean.indices[i]
        info = dict(self.clean.dataset.get_data_info(index), img=np.array(self.images[self.start + index]))
        return self.clean.dataset.pipeline(info)


class ImageNetC(Dataset):
    """Validation images of ImageNet, corrupted: ``<corruption>/<severity>/<class>/<name>``, the clean one's class and name.

    They are 224 x 224 already, so steps of the pipeline that resize are left out, as the benchmark's own code does.

    Args:
        clean (Subset): The clean images: some of a data set of files.
        folder (str): Where the archives were unpacked, e.g. ``data/imagenet-c``.
        corruption (str): Name of a folder in it.
        severity (int): From 1 to 5.

    Raises:
        InputError: if an image is missing.
    """

    def __init__(self, clean: Subset, folder: str, corruption: str, severity: int) -> None:
        place = Path(folder, corruption, str(severity))
        self.clean, self.files = clean, []
        for i in clean.indices:
            path = clean.dataset.get_data_info(i).get('img_path')
            if path is None:
                raise InputError(f'{folder} has images in files: expected a config whose test data has, too')
            self.files.append(str(place.joinpath(*Path(path).parts[-2:])))
            if not os.path.isfile(self.files[-1]):
                raise InputError(f'{self.files[-1]} does not exist: expected ImageNet-C, unpacked, in {folder}')
        steps = clean.dataset.pipeline.transforms
        self.pipeline = Compose([step for step in steps if not type(step).__name__.startswith('Resize')])

    def __len__(self) -> int:
        return len(self.clean)

    def __getitem__(self, i: int) -> dict:
        info = dict(self.clean.dataset.get_data_info(self.clean.indices[i]), img_path=self.files[i])
        return self.pipeline(info)


class Corrupted(Dataset):
    """Images as the pipeline gives them, corrupted by the library imagecorruptions, the same in every run.

    Args:
        clean (Dataset): ``clean[i]['inputs']`` is ``(3, H, W)``, uint8, H and W at least 32.
        corruption (str): One of :data:`CORRUPTIONS`.
        severity (int): From 1 to 5.
        bgr (bool): Whether the images are BGR; the library's are RGB.

    Raises:
        InputError: if the library is missing. Samples raise it for images that it cannot corrupt.
    """

    def __init__(self, clean: Dataset, corruption: str, severity: int, bgr: bool) -> None:
        try:
            import imagecorruptions
        except ImportError as error:
            raise InputError(
                'corruptions without an archive need imagecorruptions: pip install imagecorruptions-imaug'
            ) from error
        self._corrupt = imagecorruptions.corrupt
        self.clean, self.corruption, self.severity, self.bgr = clean, corruption, severity, bgr

    def __len__(self) -> int:
        return len(self.clean)

    def __getitem__(self, i: int) -> dict:
        sample = self.clean[i]
        image = sample['inputs']
        if image.dtype != torch.uint8 or min(image.shape[1:]) < 32:
            raise InputError(
                f'corruptions got an image {tuple(image.shape)} of type {image.dtype}: expected torch.uint8 and at least 32 '
                'x 32 pixels'
            )
        pixels = image.flip(0) if self.bgr else image
        seed = 1000 * i + 10 * CORRUPTIONS.index(self.corruption) + self.severity
        # Two take a seed, the others NumPy's own generator.
        seeded = dict(seed=seed) if self.corruption in ('glass_blur', 'impulse_noise') else {}
        with numpy_seed(seed):
            corrupted = self._corrupt(pixels.permute(1, 2, 0).numpy(), self.severity, self.corruption, **seeded)
        corrupted = torch.from_numpy(np.array(corrupted)).permute(2, 0, 1)
        return dict(sample, inputs=(corrupted.flip(0) if self.bgr else corrupted).contiguous())


@contextlib.contextmanager
def numpy_seed(seed: int) -> Iterator[None]:
    """NumPy's global generator starts at ``seed``, and goes on afterwards as if nothing had been drawn."""
    state = np.random.get_state()
    np.random.seed(seed)
    try:
        yield
    finally:
        np.random.set_state(state)


def load_array(file: str) -> np.ndarray:
    """An array of a ``.npy`` file, not read yet. Raises InputError if it is missing or none; never runs code from it."""
    try:
        return np.load(file, mmap_mode='r', allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        reason = 'does not exist' if isinstance(error, FileNotFoundError) else f'cannot be read ({error})'
        raise InputError(f'{file} {reason}: expected an array of CIFAR-C') from error


def corrupted_images(classifier: LoadedClassifier, archive: str | None, corruption: str, severity: int) -> Dataset:
    """The test images with a corruption, from an archive's folder or, without one, from the library."""
    if archive is None:
        return Corrupted(classifier.dataset, corruption, severity, classifier.model.data_preprocessor.to_rgb)
    kind = CifarC if os.path.isfile(os.path.join(archive, 'labels.npy')) else ImageNetC
    return kind(classifier.dataset, archive, corruption, severity)


@torch.no_grad()
def corruption_errors(
    classifier: LoadedClassifier,
    corruptions: Sequence[str] = CORRUPTIONS,
    severities: Sequence[int] = SEVERITIES,
    archive: str | None = None,
) -> dict[str, list[float]]:
    """Top-1 error in percent on each corruption, one number for each severity.

    Args:
        classifier (LoadedClassifier): With the clean test images.
        corruptions (Sequence[str]): Names; an archive may have more than :data:`CORRUPTIONS`.
        severities (Sequence[int]): From 1 to 5.
        archive (str, optional): Folder of CIFAR-10-C, CIFAR-100-C or ImageNet-C. Defaults to None: the library.

    Raises:
        InputError: as :class:`CifarC`, :class:`ImageNetC` and :class:`Corrupted`.
    """
    runs = [(corruption, severity) for corruption in corruptions for severity in severities]
    errors: dict[str, list[float]] = {corruption: [] for corruption in corruptions}
    for corruption, severity in track(runs, f'{classifier.name}, corrupted'):
        images = corrupted_images(classifier, archive, corruption, severity)
        wrong = 0
        for batch, labels in classifier.on(images, classifier.labels).batches(progress=False):
            wrong += (classifier.logits(classifier.normalise(batch)).argmax(dim=1) != labels).sum().item()
        errors[corruption].append(100 * wrong / len(classifier))
    return errors


def mean_corruption_error(errors: dict[str, list[float]]) -> float:
    """Mean over the corruptions of the mean over their severities, in percent; not relative to any network."""
    return statistics.mean(statistics.mean(one) for one in errors.values())


def relative_to_alexnet(errors: dict[str, list[float]]) -> float | None:
    """ImageNet-C's mCE in percent: each corruption's error over AlexNet's. None unless all of it was measured."""
    if set(errors) != set(ALEXNET) or any(len(one) != len(SEVERITIES) for one in errors.values()):
        return None
    return statistics.mean(statistics.mean(errors[name]) / ALEXNET[name] for name in errors)
