"""A small data set that lives on the GPU, where whole batches are cropped and flipped at once."""

from __future__ import annotations

import torch
from mmengine.dataset import BaseDataset
from mmengine.registry import FUNCTIONS
from mmpretrain.registry import DATASETS
from mmpretrain.structures import DataSample
from torch import Tensor

from mixskd_mm.errors import InputError


@DATASETS.register_module()
class OnDeviceDataset:
    """All images of a classification data set on one device, augmented there batch by batch.

    Decoding and augmenting CIFAR's small images one by one keeps a GPU waiting. Here they are loaded once, and a batch is
    one indexing operation. Crop and flip have the distribution of mmpretrain's ``RandomCrop(crop_size=size,
    padding=padding)`` and ``RandomFlip(prob=flip_prob, direction='horizontal')``, drawn for each image, from PyTorch's
    generator on the CPU: the same batches on every device, and seeded by ``EpochSeedHook`` like everything else.

    The loader has to leave batches as they are: ``collate_fn=dict(type='whole_batch')``, ``num_workers=0`` and
    ``pin_memory=False``. ``configs/_base_/datasets/cifar100_on_device.py`` has all of it.

    Args:
        dataset (dict | BaseDataset): The data set; its pipeline runs once for each image, so it must not be random:
            ``PackInputs`` alone for CIFAR. All images must have one size, ``(3, H, W)``.
        padding (int): Black pixels around an image, from which ``(H, W)`` is cropped at random. Defaults to 0: no crop.
        flip_prob (float): How often an image is mirrored, from 0 to 1. Defaults to 0.
        device (str, optional): Where the images live. Defaults to None: the process's GPU, or the CPU if there is none.

    Raises:
        InputError: if a value above is outside its range or the images have several sizes.
    """

    def __init__(
        self, dataset: dict | BaseDataset, padding: int = 0, flip_prob: float = 0.0, device: str | None = None
    ) -> None:
        if type(padding) is not int or padding < 0:
            raise InputError(f'OnDeviceDataset padding={padding!r}: expected a number of pixels >= 0')
        if isinstance(flip_prob, bool) or not isinstance(flip_prob, int | float) or not 0 <= flip_prob <= 1:
            raise InputError(f'OnDeviceDataset flip_prob={flip_prob!r}: expected a number from 0 to 1')
        self.dataset = DATASETS.build(dataset) if isinstance(dataset, dict) else dataset
        self.padding = padding
        self.flip_prob = flip_prob
        self.device = torch.device(device or ('cuda' if torch.cuda.is_available() else 'cpu'))
        self.images: Tensor | None = None

    @property
    def metainfo(self) -> dict:
        """The data set's."""
        return self.dataset.metainfo

    def full_init(self) -> None:
        """Load all images. The Runner calls it, in each process after the process has chosen its GPU."""
        if self.images is not None:
            return
        self.dataset.full_init()
        images, self.labels = [], []
        for i in range(len(self.dataset)):
            packed = self.dataset[i]
            images.append(packed['inputs'])
            self.labels.append(packed['data_samples'].gt_label)
        sizes = sorted({tuple(image.shape) for image in images})
        if len(sizes) != 1:
            raise InputError(f'OnDeviceDataset got images of the sizes {sizes}: expected one size')
        p = self.padding
        # (N, H, W, 3): crops of it are batches in the memory format channels_last.
        images = torch.nn.functional.pad(torch.stack(images), (p, p, p, p)).permute(0, 2, 3, 1)
        self.images = images.contiguous().to(self.device)
        self.size = sizes[0][1:]

    def __len__(self) -> int:
        return len(self.dataset)

    def get_gt_labels(self):
        """Labels of all images, ``(len(self), )``."""
        return self.dataset.get_gt_labels()

    def get_data_info(self, i: int) -> dict:
        """Annotation of one image."""
        return dict(self.dataset.get_data_info(i), sample_idx=i)

    def __getitem__(self, i: int) -> dict:
        """One image, as :meth:`__getitems__` gives a batch, without the first dimension."""
        batch = self.__getitems__([i])
        return dict(inputs=batch['inputs'][0], data_samples=batch['data_samples'][0])

    def __getitems__(self, indices: list[int]) -> dict:
        """A batch; the DataLoader asks for it if this method exists.

        Args:
            indices (list[int]): Which images, N of them; one that is there twice is augmented twice.

        Returns:
            dict: ``inputs``, images ``(N, 3, H, W)`` of the pipeline's dtype on ``device``, and ``data_samples``, whose
            ``sample_idx`` is the index.
        """
        n, (height, width) = len(indices), self.size
        # Upper left corners of the crops, and which to mirror.
        offsets = torch.randint(2 * self.padding + 1, (2, n, 1))
        flipped = torch.rand(n, 1) < self.flip_prob
        columns = torch.arange(width)
        columns = offsets[1] + torch.where(flipped, columns.flip(0), columns)
        rows = offsets[0] + torch.arange(height)
        where = torch.cat([torch.tensor(indices)[:, None], rows, columns], dim=1)
        if self.device.type == 'cuda':
            # One copy, for which the host does not wait.
            where = where.pin_memory().to(self.device, non_blocking=True)
        index, rows, columns = where.split([1, height, width], dim=1)
        crops = self.images[index[:, :, None], rows[:, :, None], columns[:, None, :]]
        # Anew, since preprocessors write into them.
        samples = [DataSample(gt_label=self.labels[i], metainfo=dict(sample_idx=i)) for i in indices]
        return dict(inputs=crops.permute(0, 3, 1, 2), data_samples=samples)


@FUNCTIONS.register_module()
def whole_batch(batch: dict) -> dict:
    """A collate_fn for data sets that give whole batches, such as :class:`OnDeviceDataset`."""
    return batch
