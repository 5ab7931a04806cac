"""The auxiliary classifiers of DCM (Yao and Sun, ECCV 2020), as the tables of its supplement have them.

DKS (Sun et al., CVPR 2019), by the same authors, has the same ones on WRN.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch.nn.functional as F
from mmengine.model import BaseModule, ModuleList
from mmpretrain.models import ImageClassifier
from mmpretrain.models.backbones import ResNet, ResNet_CIFAR
from mmpretrain.models.heads import LinearClsHead
from mmpretrain.registry import MODELS
from torch import Tensor, nn

from mixskd_mm.errors import InputError

from .backbones import (
    BottleneckResNet_CIFAR,
    DenseNet_CIFAR,
    MobileNet_CIFAR,
    StagedMobileNetV2,
    ThinResNet_CIFAR,
    WideResNet_CIFAR,
)
from .recompute import checkpoint_activations
from .stages import AuxiliaryBranch, cut_of, fresh_stages, global_average_pool, stage_names

# A classifier: the stage whose output it continues (0: the first convolution), and for each stage that it has itself
# (blocks, width). Width is the number of output channels, for DenseNet the growth rate; MobileNetV2 adds the expansion.
Layout = tuple[int, list[tuple[int, ...]]]


def thin_resnet(net: ThinResNet_CIFAR) -> dict[str, Layout]:
    """Table 1: ResNet-110 (n = 18 blocks and 16, 32, 64 channels) and ResNet-164 (64, 128, 256).

    The table prints one number for the three convolutions of a bottleneck. By its caption it is the output channels: those
    of C3 are then the backbone's, as in ResNet-110, and inside the blocks are a quarter.
    """
    n, (_, _, c2, c3) = net.stage_blocks[0], stage_channels(net)
    return dict(C3=(1, [(half(n), c2), (half(n), c3)]), C2=(2, [(n, 2 * c3)]))


def densenet(net: DenseNet_CIFAR) -> dict[str, Layout]:
    """Table 2: DenseNet-40-12 (n = 12 layers, growth rate k = 12)."""
    n, k = net.stage_settings[0]
    return dict(C3=(1, [(n, k), (half(n), k)]), C2=(2, [(n, 3 * k)]))


def wide_resnet(net: WideResNet_CIFAR) -> dict[str, Layout]:
    """Table 3: WRN-28-4 and WRN-28-10 (n = 4 blocks and 16, 32, 64 channels times k)."""
    n, (_, c1, c2, c3) = net.stage_settings[0][0], net.stage_channels
    return dict(
        C4=(0, [(n, c1), (half(n), c2), (half(n), c3)]),
        C3=(1, [(n, c2), (half(n), c3)]),
        C2=(2, [(n, 2 * c3)]),
    )


def mobilenet(net: MobileNet_CIFAR) -> dict[str, Layout]:
    """Table 4: conv6 to conv11 and conv12 to conv13. The authors' code has two blocks fewer in the first stage of C3."""
    _, _, c2, c3 = net.stage_channels
    return dict(C3=(1, [(6, c2), (2, c3)]), C2=(2, [(2, 2 * c3)]))


def imagenet_resnet(net: ResNet) -> dict[str, Layout] | None:
    """Table 5: ResNet-18 and ResNet-50. None for another depth."""
    blocks = {18: [1, 2, 2], 50: [3, 2, 3]}.get(net.depth)
    if blocks is None or net.num_stages != 4:
        return None
    *_, c3, c4 = stage_channels(net)
    return dict(C3=(2, [(blocks[0], c3), (blocks[1], c4)]), C2=(3, [(blocks[2], 2 * c4)]))


def mobilenet_v2(net: StagedMobileNetV2) -> dict[str, Layout]:
    """Table 6: block14-16, block17, block18. The expansion of block17 in C3 is 3, as printed; the backbone's is 6."""
    *_, c6, c7, c8 = net.stage_channels
    return dict(C3=(5, [(3, c6, 6), (1, c7, 3), (1, c8)]), C2=(6, [(1, c7 * 3 // 2, 6), (1, c8 * 3 // 2)]))


TABLES: dict[type, Callable] = {
    ThinResNet_CIFAR: thin_resnet,
    BottleneckResNet_CIFAR: thin_resnet,
    DenseNet_CIFAR: densenet,
    WideResNet_CIFAR: wide_resnet,
    MobileNet_CIFAR: mobilenet,
    ResNet: imagenet_resnet,
    ResNet_CIFAR: imagenet_resnet,
    StagedMobileNetV2: mobilenet_v2,
}


def has_own_stages(net: nn.Module) -> bool:
    """Whether ``net`` is cut where tables expect it, and not elsewhere by a config's ``stages``."""
    return cut_of(net).stages == [[name] for name in getattr(net, 'res_layers', ())]


def half(n: int) -> int:
    return max(n // 2, 1)


def stage_channels(net: nn.Module) -> tuple[int, ...]:
    """C_0, C_1, ..., C_K: channels of what enters the first stage, and of the output of each."""
    if isinstance(net, ResNet):
        return net.stem_channels, *(net.base_channels * net.expansion * 2**k for k in range(net.num_stages))
    return net.stage_channels


def make_stage(net: nn.Module, index: int, in_channels: int, *setting: int) -> tuple[nn.Module, int]:
    """A stage like the one of ``net`` with this 0-based index, but for its depth and width; and its output channels."""
    if not isinstance(net, ResNet):
        return net.make_stage(index, in_channels, *setting)
    blocks, width = setting
    stage = net.make_res_layer(
        block=net.block,
        num_blocks=blocks,
        in_channels=in_channels,
        out_channels=width,
        expansion=net.expansion,
        stride=net.strides[index],
        dilation=net.dilations[index],
        style=net.style,
        avg_down=net.avg_down,
        with_cp=net.with_cp,
        conv_cfg=net.conv_cfg,
        norm_cfg=net.norm_cfg,
    )
    return stage, width


def make_branch(
    backbone: nn.Module, layout: Layout, num_classes: int, head_init_cfg: dict | None = None
) -> AuxiliaryBranch:
    """An auxiliary branch whose stages have the depths and widths of ``layout``, and are initialised as the backbone's."""
    start, settings = layout
    # An object of the backbone's class, so that it makes and initialises the stages.
    stages = fresh_stages(backbone, [])
    channels = stage_channels(backbone)[start]
    for index, setting in enumerate(settings, start):
        stage, channels = make_stage(stages, index, channels, *setting)
        stages.add_module(backbone.res_layers[index], stage)
    checkpoint_activations(stages)
    stages.requires_grad_(True)
    return AuxiliaryBranch(backbone, start, num_classes, head_init_cfg, stages, channels)


def copy_or_make_branches(
    network: ImageClassifier, starts: Sequence[int], layout_of: Callable[[nn.Module, int], list[tuple[int, ...]] | None]
) -> ModuleList:
    """Auxiliary branches that classify as ``network`` does, one after each stage k of ``starts``.

    Args:
        network (ImageClassifier): Its backbone can be cut into stages.
        starts (Sequence[int]): 1-based.
        layout_of (Callable): (blocks, width) of each stage of the branch, of the backbone and k; None for copies of the
            backbone's later stages, which a backbone whose stages the config declares gets in any case.
    """
    backbone, head = network.backbone, network.head
    branches = ModuleList()
    for k in starts:
        layout = layout_of(backbone, k) if has_own_stages(backbone) else None
        if layout is None:
            branches.append(AuxiliaryBranch(backbone, k, head.num_classes, head.init_cfg, head=head))
        else:
            branches.append(make_branch(backbone, (k, layout), head.num_classes, head.init_cfg))
    return branches


class APFC(BaseModule):
    """The control "APFC" of the supplement's section 2.2: average pooling to 4 x 4, and a fully connected layer.

    Args:
        channels (int): C of the stage's output.
        start (int): Which stage's, 1-based; 0 for the first convolution.
        num_classes (int): Number of classes.
        head_init_cfg (dict, optional): Initialisation of the layer. Defaults to None: PyTorch's.
    """

    def __init__(self, channels: int, start: int, num_classes: int, head_init_cfg: dict | None = None) -> None:
        super().__init__()
        self.start = start
        self.head = LinearClsHead(num_classes, 16 * channels, init_cfg=head_init_cfg)

    def forward(self, stage_output: Tensor) -> Tensor:
        """``(N, C, H, W)`` to ``(N, 16 C, 1, 1)``, a map that global average pooling leaves as it is."""
        return F.adaptive_avg_pool2d(stage_output, 4).flatten(1)[:, :, None, None]

    def classify(self, pooled: Tensor) -> Tensor:
        """``(N, 16 C)`` to logits ``(N, num_classes)``."""
        return self.head.fc(pooled)


@MODELS.register_module()
class DCMBranches(ModuleList):
    """The auxiliary classifiers of one network, shallowest first: (C4,) C3, C2. The main classifier C1 is the network's own.

    Each path from the images to a classifier has as many down-samplings as the network. ResNet-110 and 164, DenseNet-40-12,
    WRN-28-4 and 28-10, MobileNet, and on ImageNet ResNet-18, ResNet-50 and MobileNetV2 have the supplement's Tables 1 to 6;
    so have, in proportion, the CIFAR networks of other depth and width. Other backbones get copies of their later stages
    (``AuxiliaryBranch``) after the last two hidden ones.

    Args:
        backbone (nn.Module): The network, one that can be cut into stages; it is not changed.
        num_classes (int): Number of classes.
        head_init_cfg (dict, optional): Initialisation of the classifiers. Defaults to None: PyTorch's.
        variant (str): ``full``; ``narrow``, half the width or growth rate; ``apfc``, average pooling and a fully connected
            layer. Defaults to ``full``.
        extra_c4 (bool): Add C4 after the first convolution (WRN, Table 3). Defaults to False.
        layout (Sequence[dict], optional): Other classifiers than the tables', for these networks: of each ``start``, the
            stage that it continues, 1-based, and ``stages``, (blocks, width) of each of its own, such as
            ``[dict(start=2, stages=[(1, 256), (2, 512)]), dict(start=3, stages=[(2, 512)])]``. Width is the number of
            output channels, for DenseNet the growth rate. Defaults to None.

    Raises:
        InputError: if a value above is none of these, or the backbone has no table and an argument needs one.
    """

    def __init__(
        self,
        backbone: nn.Module,
        num_classes: int,
        head_init_cfg: dict | None = None,
        variant: str = 'full',
        extra_c4: bool = False,
        layout: Sequence[dict] | None = None,
    ) -> None:
        num_stages = len(stage_names(backbone))
        layouts = choose_layouts(backbone, num_stages, variant, extra_c4, layout)
        if layouts is None:
            last_two = range(1, num_stages)[-2:]
            branches = [AuxiliaryBranch(backbone, k, num_classes, head_init_cfg) for k in last_two]
        elif variant == 'apfc':
            channels = stage_channels(backbone)
            branches = [APFC(channels[start], start, num_classes, head_init_cfg) for start, _ in layouts]
        else:
            branches = [make_branch(backbone, layout, num_classes, head_init_cfg) for layout in layouts]
        super().__init__(branches)
        self.num_stages = num_stages
        self.extra_c4 = extra_c4

    def forward(self, outputs: Sequence[Tensor]) -> list[Tensor]:
        """Logits ``(N, num_classes)`` of each classifier, shallowest first.

        Args:
            outputs (Sequence[Tensor]): Of the network's stages, first to last, ``(N, C_k, H_k, W_k)``; before them, for C4,
                that of the first convolution: ``stage_outputs(backbone, images, stem=branches.extra_c4)``.
        """
        before_first = len(outputs) - self.num_stages - 1
        features = [branch(outputs[before_first + branch.start]) for branch in self]
        return [branch.classify(global_average_pool(feature)) for branch, feature in zip(self, features)]


def choose_layouts(
    backbone: nn.Module, num_stages: int, variant: str, extra_c4: bool, layout: Sequence[dict] | None
) -> list[Layout] | None:
    """The classifiers' layouts by the arguments of ``DCMBranches``; None where a backbone without a table gets copies."""
    if variant not in ('full', 'narrow', 'apfc'):
        raise InputError(f'DCMBranches variant={variant!r}: expected full, narrow or apfc')
    kind = type(backbone).__name__
    make_table = TABLES.get(type(backbone))
    table = make_table(backbone) if make_table and has_own_stages(backbone) else None
    if extra_c4 and (layout is not None or 'C4' not in (table or {})):
        raise InputError(
            f'DCMBranches extra_c4={extra_c4!r} on {kind}: expected False, since only the WRN table has a C4'
        )
    if table is None:
        if variant != 'full' or layout is not None:
            raise InputError(
                f'DCMBranches variant={variant!r}, layout={layout!r} on {kind}: expected full and None, since the '
                'supplement of DCM has no table for this backbone and its stages'
            )
        return None
    if layout is not None:
        layouts = [check_layout(classifier, num_stages, kind) for classifier in layout]
    else:
        layouts = [classifier for name, classifier in table.items() if name != 'C4' or extra_c4]
    if variant == 'narrow':
        return [(start, [(b, half(width), *rest) for b, width, *rest in stages]) for start, stages in layouts]
    return layouts


def check_layout(classifier: dict, num_stages: int, kind: str) -> Layout:
    """``dict(start=..., stages=...)`` as a tuple. Raises InputError unless it fits a backbone of ``num_stages`` stages."""
    length = (2, 3) if kind == 'StagedMobileNetV2' else (2,)

    def is_setting(setting) -> bool:
        is_sequence = isinstance(setting, list | tuple) and len(setting) in length
        return is_sequence and all(type(n) is int and n > 0 for n in setting)

    fits = isinstance(classifier, dict) and classifier.keys() == {'start', 'stages'}
    if fits:
        start, stages = classifier['start'], classifier['stages']
        fits = type(start) is int and 1 <= start < num_stages and isinstance(stages, list | tuple)
        fits = fits and len(stages) == num_stages - start and all(map(is_setting, stages))
    if not fits:
        raise InputError(
            f'DCMBranches layout has {classifier!r}: expected start, from 1 to {num_stages - 1}, and stages, (blocks, '
            f'width) of each of the {num_stages} - start stages of {kind} that follow'
        )
    return start, [tuple(setting) for setting in stages]
