"""The discriminators D_k: was this feature map interpolated, or made from a mixed image?"""

from __future__ import annotations

from mmengine.model import BaseModule
from mmpretrain.registry import MODELS
from torch import Tensor, nn

from mixskd_mm.errors import InputError


@MODELS.register_module()
class Discriminator(BaseModule):
    """D_k: a two-layer MLP on the pooled feature map (MixSKD, section 3.3), without its sigmoid.

    It returns the logits that the sigmoid would take: the loss of Eq. (8) is finite for logits of any size.

    Args:
        in_channels (int): Channels C_K of the feature map.
        hidden_channels (int): Width of the hidden layer. Defaults to 128; the paper gives none, the release has 128.
        num_logits (int): 1, or 2 as in the release, where the second says "from a mixed image". Defaults to 1.
        frozen (bool): Keep the random initial weights, as the release does by mistake. Defaults to False.
    """

    def __init__(self, in_channels: int, hidden_channels: int = 128, num_logits: int = 1, frozen: bool = False) -> None:
        super().__init__()
        if num_logits not in (1, 2):
            raise InputError(f'Discriminator num_logits={num_logits!r}: expected 1 (paper) or 2 (release)')
        self.mlp = nn.Sequential(
            nn.Linear(in_channels, hidden_channels),
            nn.ReLU(inplace=True),
            nn.Linear(hidden_channels, num_logits),
        )
        self.requires_grad_(not frozen)

    def forward(self, pooled: Tensor) -> Tensor:
        """Pooled features ``(N, in_channels)`` to logits ``(N, num_logits)``, large for interpolated ones."""
        return self.mlp(pooled)
