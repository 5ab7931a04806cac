"""The heads of the paper's DeepLabV3: those of the code that it names for its segmentation results (CIRKD)."""

from __future__ import annotations

from collections.abc import Sequence

from mmcv.cnn import ConvModule
from mmseg.models.decode_heads import ASPPHead, FCNHead
from torch import nn

from mixskd_mm.errors import InputError


def check_dropout(name: str, ratio: float) -> float:
    """Return ``ratio`` if it is a number in [0, 1). Raises InputError otherwise."""
    if not isinstance(ratio, int | float) or isinstance(ratio, bool) or not 0 <= ratio < 1:
        raise InputError(f'{name}={ratio!r}: expected a number in [0, 1)')
    return ratio


class ElementDropout:
    """Mixin of a decode head: dropout before the classifier drops single values, where mmseg's drops whole channels."""

    def __init__(self, *, dropout_ratio: float = 0.1, **kwargs) -> None:
        super().__init__(dropout_ratio=check_dropout('dropout_ratio', dropout_ratio), **kwargs)
        self.dropout = nn.Dropout(dropout_ratio)


class ProjectedASPPHead(ElementDropout, ASPPHead):
    """ASPP, projected to ``channels`` before the 3x3 convolution, as in the paper's segmentation code.

    (N, in_channels, H, W) -> five parallel (N, channels, H, W) -> concatenated -> 1x1 conv, dropout -> 3x3 conv, dropout ->
    1x1 conv to (N, num_classes, H, W). mmseg's ``ASPPHead`` has no 1x1 conv, and channel dropout at the end only.

    Args:
        dilations (Sequence[int]): Those of the 1x1 and the 3x3 convolutions; image pooling is the fifth branch. Defaults to
            (1, 12, 24, 36).
        project_dropout_ratio (float): Dropout after the projection. Defaults to 0.5.
        dropout_ratio (float): Dropout before the classifier. Defaults to 0.1.
        **kwargs: Those of mmseg's ``BaseDecodeHead``; the paper's are ``channels=256`` and ``align_corners=True``.
    """

    def __init__(
        self, dilations: Sequence[int] = (1, 12, 24, 36), project_dropout_ratio: float = 0.5, **kwargs
    ) -> None:
        super().__init__(dilations=tuple(dilations), **kwargs)
        conv = dict(conv_cfg=self.conv_cfg, norm_cfg=self.norm_cfg, act_cfg=self.act_cfg)
        # In the place of a 3x3 convolution of the concatenation.
        self.bottleneck = nn.Sequential(
            ConvModule((len(dilations) + 1) * self.channels, self.channels, 1, **conv),
            nn.Dropout(check_dropout('project_dropout_ratio', project_dropout_ratio)),
            ConvModule(self.channels, self.channels, 3, padding=1, **conv),
        )


class ElementDropoutFCNHead(ElementDropout, FCNHead):
    """mmseg's ``FCNHead`` with element-wise dropout: the auxiliary head of the paper's segmentation code."""
