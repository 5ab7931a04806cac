"""A trained network that teaches another one and does not learn."""

from __future__ import annotations

import logging

import torch
from mmengine.logging import print_log
from torch import Tensor, nn

from mixskd_mm.checkpoints.load import load_weights
from mixskd_mm.errors import InputError

from .losses.precision import full_precision


class FrozenTeacher(nn.Module):
    """Backbone, neck and head of a trained classifier: always in evaluation mode, without gradients.

    ``init_weights`` loads the checkpoint. The weights are saved with the student's, so a training that resumes has them
    without that file, and a file that cannot be loaded is an error only if no weights come from elsewhere.

    Args:
        backbone (nn.Module): Gives a tuple of feature maps; the neck and the head read the last.
        neck (nn.Module | None): The teacher's neck, if it has one.
        head (nn.Module): Gives logits ``(N, C)``.
        checkpoint (str): The teacher's checkpoint, or an address that mmengine loads: any method's, of which the tensors
            that predict are used.
    """

    def __init__(self, backbone: nn.Module, neck: nn.Module | None, head: nn.Module, checkpoint: str) -> None:
        super().__init__()
        self.backbone = backbone
        self.neck = neck
        self.head = head
        self.checkpoint = checkpoint
        # Why the weights are not those of a trained network, if so.
        self.problem: str | None = f'checkpoint {checkpoint} was not loaded: expected a call of init_weights()'
        self.requires_grad_(False)
        self.eval()

    def train(self, mode: bool = True) -> FrozenTeacher:
        """Nothing: the student's ``train()`` must not make BatchNorm use, and update, statistics of the batch."""
        return super().train(False)

    def init_weights(self) -> None:
        """Load the checkpoint, strictly; :meth:`check` says if that was not possible."""
        try:
            load_weights(self, self.checkpoint)
        # OSError: a download.
        except (InputError, OSError) as error:
            self.problem = str(error)

    def _load_from_state_dict(self, state_dict: dict[str, Tensor], prefix: str, *args) -> None:
        """What PyTorch and mmengine call before they load the parts: notes where the weights come from.

        A teacher that is not this network, of which some tensors would fit, is left out.
        """
        super()._load_from_state_dict(state_dict, prefix, *args)
        own = self.state_dict()
        given = {name.removeprefix(prefix): state_dict[name] for name in state_dict if name.startswith(prefix)}
        if given.keys() != own.keys() or any(given[name].shape != value.shape for name, value in own.items()):
            for name in given:
                del state_dict[prefix + name]
            if given:
                message = (
                    f'The teacher of the checkpoint being loaded is another network: left out for {self.checkpoint}'
                )
                print_log(message, logger='current', level=logging.WARNING)
            return
        if self.problem is None and any(not value.equal(given[name].to(value)) for name, value in own.items()):
            message = f'The teacher is that of the checkpoint being loaded, in the place of {self.checkpoint}'
            print_log(message, logger='current', level=logging.WARNING)
        self.problem = None

    def check(self) -> None:
        """Raise InputError unless the weights come from a checkpoint."""
        if self.problem is not None:
            raise InputError(f'teacher_checkpoint gives no trained teacher: {self.problem}')

    @torch.no_grad()
    def forward(self, inputs: Tensor) -> Tensor:
        """Logits in float32, ``(N, C)``, of normalised images ``(N, 3, H, W)``.

        Raises:
            InputError: if the weights do not come from a checkpoint.
        """
        self.check()
        features = self.backbone(inputs)
        return full_precision(self.head(features if self.neck is None else self.neck(features)))
