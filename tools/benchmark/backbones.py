#!/usr/bin/env python
"""What MixSKD costs on each kind of backbone: the table of docs/backbones.md."""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable

import torch
from mmengine.logging import MMLogger
from mmpretrain.registry import MODELS
from mmpretrain.structures import DataSample
from torch import nn

import mixskd_mm  # noqa: F401  (registers everything)
from mixskd_mm.cli import exit_on_input_error
from mixskd_mm.errors import InputError
from mixskd_mm.models.stages import cut_of

STACKED = dict(type='StackedLinearClsHead', mid_channels=[1280], dropout_rate=0.2, act_cfg=dict(type='HSwish'))
NETWORKS = {
    'ResNet-50': dict(type='ResNet', depth=50),
    'RegNetX-1.6GF': dict(type='RegNet', arch='regnetx_1.6gf'),
    'MobileNetV2': dict(type='MobileNetV2'),
    'MobileNetV3-L': dict(type='MobileNetV3', arch='large'),
    'ShuffleNetV2': dict(type='ShuffleNetV2', widen_factor=1.0),
    'EfficientNet-B0': dict(type='EfficientNet', arch='b0'),
    'EfficientNetV2-S': dict(type='EfficientNetV2', arch='s'),
    'VGG-16': dict(type='VGG', depth=16, norm_cfg=dict(type='BN')),
    'RepVGG-A0': dict(type='RepVGG', arch='A0'),
    'ConvNeXt-T': dict(type='ConvNeXt', arch='tiny'),
    'ConvNeXtV2-T': dict(type='ConvNeXt', arch='tiny', use_grn=True, layer_scale_init_value=0.0),
    'Swin-T': dict(type='SwinTransformer', arch='tiny'),
    'CSPDarkNet-53': dict(type='CSPDarkNet', depth=53),
    'PoolFormer-S12': dict(type='PoolFormer', arch='s12'),
    'VAN-T': dict(type='VAN', arch='tiny'),
    'DenseNet-121': dict(type='DenseNet', arch='121'),
    'timm regnety_008': dict(type='TIMMBackbone', model_name='regnety_008'),
}


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('--networks', nargs='+', default=list(NETWORKS), metavar='NAME', help=', '.join(NETWORKS))
    parser.add_argument('--batch-size', type=int, default=4, help='clean images (default: 4)')
    parser.add_argument('--image-size', type=int, default=224, help='height and width (default: 224)')
    parser.add_argument('--rounds', type=int, default=5, help='of both steps in turn (default: 5)')
    args = parser.parse_args()
    for name in args.networks:
        if name not in NETWORKS:
            raise InputError(f'--networks {name}: expected some of {", ".join(NETWORKS)}')
    for name in ('batch_size', 'image_size', 'rounds'):
        if getattr(args, name) < 1:
            raise InputError(f'--{name.replace("_", "-")} {getattr(args, name)}: expected 1 or more')
    return args


def build(kind: str, backbone: dict) -> nn.Module:
    """A classifier of 1000 classes."""
    cut_backbone = MODELS.build(dict(backbone))
    cut = cut_of(cut_backbone)
    head = dict(STACKED if backbone['type'] == 'MobileNetV3' else dict(type='LinearClsHead'))
    return MODELS.build(
        dict(
            type=kind,
            backbone=dict(backbone),
            neck=dict(type='GlobalAveragePooling') if cut.after_pool is None else None,
            head=dict(head, num_classes=1000, in_channels=cut_backbone.feat_dim),
        )
    )


def training_step(model: nn.Module, batch_size: int, image_size: int) -> Callable[[], None]:
    """Function: forward, backward and SGD on random images."""
    images = torch.randn(batch_size, 3, image_size, image_size)
    samples = [DataSample().set_gt_label(i) for i in range(batch_size)]
    optimizer = torch.optim.SGD(model.parameters(), lr=1e-3, momentum=0.9)

    def step() -> None:
        optimizer.zero_grad()
        sum(model.loss(images, samples).values()).backward()
        optimizer.step()

    return step


def ratio_of_times(ours: Callable[[], None], plain: Callable[[], None], rounds: int) -> float:
    """Median over ``rounds`` of the time of ``ours`` over that of ``plain``, which run in turn."""
    ratios = []
    for _ in range(rounds + 1):
        times = []
        for step in (plain, ours):
            start = time.perf_counter()
            step()
            times.append(time.perf_counter() - start)
        ratios.append(times[1] / times[0])
    # The first round allocates.
    return statistics.median(ratios[1:])


def main() -> None:
    args = parse_args()
    MMLogger.get_current_instance().setLevel('ERROR')
    print('| network | K | parameters | while training | step |\n|---|---|---|---|---|')
    for name in args.networks:
        plain, ours = (build(kind, NETWORKS[name]).train() for kind in ('ImageClassifier', 'MixSKDClassifier'))
        counts = [sum(p.numel() for p in model.parameters()) / 1e6 for model in (plain, ours)]
        steps = [training_step(model, args.batch_size, args.image_size) for model in (ours, plain)]
        ratio = ratio_of_times(*steps, args.rounds)
        stages = len(cut_of(ours.backbone).stages)
        print(f'| {name} | {stages} | {counts[0]:.1f} M | {counts[1]:.1f} M | {ratio:.1f} |', flush=True)


if __name__ == '__main__':
    exit_on_input_error(main)
