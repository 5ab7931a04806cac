"""What the networks of this package have in common: a first convolution, then stages at which they can be cut."""

from __future__ import annotations

from collections.abc import Sequence

from mmpretrain.models.backbones.base_backbone import BaseBackbone
from torch import Tensor, nn

from ..fresh import HE_INIT
from .arguments import check_out_indices


class StagedBackbone(BaseBackbone):
    """``conv1``, and the stages ``layer1``, ``layer2``, ..., each built by ``make_stage`` of the subclass.

    It says as mmpretrain's ResNets do how it can be cut: ``res_layers``, ``out_indices``, ``feat_dim``. ``make_stage`` also
    builds the stages of auxiliary branches, which are deeper or shallower, wider or narrower than the network's own.

    Args:
        conv1 (nn.Module): Images ``(N, 3, H, W)`` to ``(N, stem_channels, H, W)``.
        stem_channels (int): Channels after ``conv1``.
        stage_settings (Sequence[tuple]): What ``make_stage`` takes for each stage, first to last.
        out_indices (Sequence[int]): Outputs of which stages ``forward`` returns, 0-based.
        init_cfg (dict | list[dict], optional): Initialisation. None is He's, as in mmpretrain's ResNets.

    Raises:
        InputError: if ``out_indices`` are not different stages.
    """

    def __init__(
        self,
        conv1: nn.Module,
        stem_channels: int,
        stage_settings: Sequence[tuple],
        out_indices: Sequence[int],
        init_cfg: dict | list[dict] | None,
    ) -> None:
        super().__init__(HE_INIT if init_cfg is None else init_cfg)
        self.out_indices = check_out_indices(f'{type(self).__name__} out_indices', out_indices, len(stage_settings))
        self.stage_settings = tuple(stage_settings)
        self.res_layers = [f'layer{i}' for i in range(1, len(stage_settings) + 1)]
        self.conv1 = conv1
        channels = [stem_channels]
        for i, name in enumerate(self.res_layers):
            stage, out_channels = self.make_stage(i, channels[-1], *stage_settings[i])
            self.add_module(name, stage)
            channels.append(out_channels)
        # C_0, C_1, ..., C_K: channels after conv1 and after each stage.
        self.stage_channels = tuple(channels)
        self.feat_dim = channels[-1]

    def make_stage(self, index: int, in_channels: int, blocks: int, width: int) -> tuple[nn.Module, int]:
        """A new stage in the place of the network's own.

        Args:
            index (int): Which one, 0-based: it has that one's stride.
            in_channels (int): Channels of its input.
            blocks (int): How many blocks it has.
            width (int): Their width.

        Returns:
            tuple[nn.Module, int]: The stage and the channels of its output.
        """
        raise NotImplementedError

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        """Images ``(N, 3, H, W)`` to the outputs ``(N, C_k, H_k, W_k)`` of the stages ``out_indices``, first to last."""
        x = self.conv1(x)
        outputs = []
        for i, name in enumerate(self.res_layers):
            x = getattr(self, name)(x)
            if i in self.out_indices:
                outputs.append(x)
        return tuple(outputs)
