"""PS-KD: Self-Knowledge Distillation with Progressive Refinement of Targets (Kim et al., ICCV 2021)."""

from __future__ import annotations

import torch
from mmengine.dist import all_gather
from mmengine.logging import MessageHub
from mmpretrain.registry import MODELS
from mmpretrain.structures import DataSample
from torch import Tensor
from torch.nn import functional as F
from torch.utils.data import DataLoader

from mixskd_mm.datasets import check_batches, check_sample_indices
from mixskd_mm.devices import dtype_on
from mixskd_mm.errors import InputError, check_number

from ..base import SelfDistillationClassifier, build_loss, top1
from ..losses import cross_entropy, ps_kd_alpha
from ..mixing import Mixture


@MODELS.register_module()
class PSKDClassifier(SelfDistillationClassifier):
    """An ``ImageClassifier`` whose labels are softened by its predictions of the epoch before.

    In epoch t of E, with P_{t-1}(x) the probabilities that the network gave image x in the epoch before:

    L = CE(z, (1 - alpha_t) y + alpha_t P_{t-1}(x)),    alpha_t = alpha_T t / E

    In the first epoch, and for an image that was not seen before, y takes the place of P, so that L is CE(z, y). P_t(x) is
    stored in the step that has read P_{t-1}(x), from the same augmented image, in training mode. E and t are the Runner's.

    The stored predictions are the buffer ``predictions``, ``(num_samples, C)``, on the network's device and in each
    checkpoint: 20 MB for CIFAR-100, 5.1 GB for ImageNet, half of that with ``storage='float16'``. In a distributed run all
    processes hold the predictions of all.

    A training image must say its index, ``sample_idx``, as all plain data sets do.

    Args:
        args: Those of :class:`SelfDistillationClassifier`. The backbone may be any.
        num_samples (int, optional): Number of training images, or more. Needed unless ``alpha`` is 0.
        alpha (float): alpha_T, in [0, 1]. Defaults to 0.8. With 0 nothing is stored.
        storage (str): What predictions are stored in, ``'float32'`` or ``'float16'``. Defaults to ``'float32'``.
        soft_loss (dict, optional): Config of the loss. Defaults to ``dict(type='PSKDLoss')``.
        kwargs: Those of :class:`SelfDistillationClassifier`.

    Raises:
        InputError: if a value above is outside its range, or the parts do not fit together; before training, if there are
            more images than ``num_samples``, if they do not say their index, or if the training counts no epochs.
    """

    def __init__(
        self,
        *args,
        num_samples: int | None = None,
        alpha: float = 0.8,
        storage: str = 'float32',
        soft_loss: dict | None = None,
        **kwargs,
    ) -> None:
        super().__init__(*args, **kwargs)
        name = type(self).__name__
        if check_number(f'{name} alpha', alpha) > 1:
            raise InputError(f'{name} alpha={alpha!r}: expected a number in [0, 1]')
        if storage not in ('float32', 'float16'):
            raise InputError(f"{name} storage={storage!r}: expected 'float32' or 'float16'")
        self.alpha = alpha
        if alpha > 0:
            if type(num_samples) is not int or num_samples < 1:
                raise InputError(f'{name} num_samples={num_samples!r}: expected the number of training images')
            # Rows of zeros: not seen yet.
            predictions = torch.zeros(num_samples, self.head.num_classes, dtype=getattr(torch, storage))
            self.register_buffer('predictions', predictions)
        self.soft_loss = build_loss(soft_loss, 'PSKDLoss')

    def check_loader(self, loader: DataLoader) -> None:
        """Raise InputError unless each image has a place of its own in the stored predictions, and epochs are counted."""
        if self.alpha == 0:
            return
        name, images = type(self).__name__, len(loader.dataset)
        check_batches(loader, 'images', name)
        check_sample_indices(loader.dataset, name)
        if images > len(self.predictions):
            raise InputError(
                f'{name} num_samples={len(self.predictions)}: expected {images} or more, the images of '
                'train_dataloader.dataset'
            )
        info = MessageHub.get_current_instance().runtime_info
        iterations = info.get('max_epochs', 1) * len(loader)
        if info.get('max_iters', iterations) != iterations:
            raise InputError(
                f'train_cfg counts {info["max_iters"]} iterations and no epochs: {name} expects by_epoch=True, since its '
                'targets come from the epoch before'
            )

    def losses(
        self, inputs: Tensor, labels: Tensor, mixture: Mixture | None, data_samples: list[DataSample]
    ) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
        """``loss_cls``, and top-1 of z; alpha_t is logged, too."""
        logits = self.classify(self.feature_map(inputs))
        logs = {'top1_f': top1(logits, labels)}
        if self.alpha == 0:
            return {'loss_cls': cross_entropy(logits, labels)}, logs
        indices = sample_indices(data_samples, inputs.device)
        alpha = self.epoch_alpha(inputs.device)
        loss = self.soft_loss(logits, labels, self.previous(indices, labels), alpha)
        self.store(indices, logits)
        return {'loss_cls': loss}, {'alpha': alpha, **logs}

    # The epoch is a Python number, on which a compiled step would depend.
    @torch.compiler.disable
    def epoch_alpha(self, device: torch.device) -> Tensor:
        """alpha_t of the current epoch, 0-d; 0 in the first one, where there is no epoch before."""
        info = MessageHub.get_current_instance().runtime_info
        epoch = info.get('epoch', 0)
        value = ps_kd_alpha(epoch, info['max_epochs'], self.alpha) if epoch > 0 else 0.0
        return torch.tensor(value, dtype=dtype_on(device)).to(device, non_blocking=True)

    def previous(self, indices: Tensor, labels: Tensor) -> Tensor:
        """P_{t-1}(x) of the images ``indices`` ``(N, )``, ``(N, C)``; the one-hot label of one that was not seen before."""
        stored = self.predictions[indices]
        seen = stored.sum(dim=1, keepdim=True) > 0
        return torch.where(seen, stored, F.one_hot(labels, stored.shape[1]).to(stored.dtype))

    # Processes exchange tensors here, which a compiler can only break its graph on.
    @torch.compiler.disable
    @torch.no_grad()
    def store(self, indices: Tensor, logits: Tensor) -> None:
        """Write P_t(x) of the images ``indices`` ``(N, )`` of all processes; ``logits`` ``(N, C)``."""
        indices = torch.cat(all_gather(indices))
        predictions = torch.cat(all_gather(logits.softmax(dim=1)))
        # An image may be in the batch twice, where ranks are filled up to equal length: all write the first prediction.
        first = (indices[:, None] == indices).int().argmax(dim=1)
        self.predictions[indices] = predictions[first].to(self.predictions.dtype)


# Data samples are Python objects: a compiler would specialise on each of them.
@torch.compiler.disable
def sample_indices(data_samples: list[DataSample], device: torch.device) -> Tensor:
    """``sample_idx`` of the samples, ``(N, )``, on ``device``."""
    indices = [sample.get('sample_idx') for sample in data_samples]
    if None in indices:
        raise InputError(
            'a training image has no sample_idx: PSKDClassifier expects its index in the training set, so '
            "train_dataloader.dataset=dict(type='IndexedDataset', dataset=...)"
        )
    return torch.tensor(indices).to(device, non_blocking=True)
