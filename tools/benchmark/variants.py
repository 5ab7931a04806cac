"""Which training steps are compared, and how each is built: from the recipes, as a Runner would build it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, fields, replace
from pathlib import Path

import torch
from mmengine.config import Config
from mmengine.optim import build_optim_wrapper
from mmpretrain.registry import MODELS
from mmpretrain.structures import DataSample
from released_graph import ReleasedGraph
from torch import nn

import mixskd_mm  # noqa: F401  (registers everything)
from mixskd_mm.engine.channels_last import use_channels_last
from mixskd_mm.engine.freed_memory import keep_freed_memory
from mixskd_mm.errors import InputError

CONFIGS = Path(__file__).resolve().parents[2] / 'configs'


@dataclass(frozen=True)
class Network:
    """A network of the paper: its recipes, and the batch and image size that are measured by default."""

    mixskd: str
    plain: str
    batch: int
    size: int


NETWORKS = {
    'r50': Network('mixskd_r50_imagenet.py', 'baseline_r50_imagenet.py', 8, 128),
    'r18_cifar': Network('cifar100/mixskd_r18_cifar100.py', 'cifar100/baseline_r18_cifar100.py', 32, 32),
}
METHODS = ('plain', 'released', 'ours')


@dataclass(frozen=True)
class Variant:
    """One row of the table: a method and the settings that it runs with."""

    method: str
    channels_last: bool = False
    amp: bool = False
    """bfloat16 autocast, on a GPU."""
    fused: bool = False
    """SGD as one fused operation."""
    keep_memory: bool = False
    """Freed memory stays with the process, on a CPU."""
    compile: bool = False
    cuda_graphs: bool = False
    """``torch.compile(mode='reduce-overhead')``."""
    checkpoint: bool = False
    """Activation checkpointing of all blocks."""
    no_recompute: bool = False
    """All activations are kept, also those of the stages that the recipe recomputes."""

    def __str__(self) -> str:
        return '+'.join([self.method, *(name for name in SETTINGS if getattr(self, name))])

    @property
    def compiles(self) -> bool:
        return self.compile or self.cuda_graphs

    def plain(self) -> Variant:
        """What R compares with: plain cross-entropy with the same settings, which keeps all activations."""
        return replace(self, method='plain', checkpoint=False, no_recompute=False)

    def released(self) -> Variant:
        """The released graph, eager, in the same precision and memory format and with the same optimiser."""
        return Variant('released', self.channels_last, self.amp, self.fused, self.keep_memory)


SETTINGS = tuple(field.name for field in fields(Variant) if field.name != 'method')
RELEASED_AS_IT_SHIPS = Variant('released')


def parse_variant(text: str) -> Variant:
    """``METHOD[+SETTING]...``, such as ``ours+channels_last+compile``. Raises InputError for anything else."""
    method, *settings = text.split('+')
    if method not in METHODS or not set(settings) <= set(SETTINGS):
        raise InputError(
            f'--variants {text}: expected one of {", ".join(METHODS)}, followed by any of +{", +".join(SETTINGS)}'
        )
    if method == 'released' and {'compile', 'cuda_graphs', 'checkpoint'} & set(settings):
        raise InputError(f'--variants {text}: expected the released graph eager and without checkpointing')
    if 'no_recompute' in settings and (method != 'ours' or 'checkpoint' in settings):
        raise InputError(f'--variants {text}: expected +no_recompute with ours and without +checkpoint')
    return Variant(method, **dict.fromkeys(settings, True))


def default_variants(device: str) -> list[Variant]:
    """All that ``docs/performance.md`` reports for a kind of device, ``cpu`` or ``cuda``."""
    if device == 'cuda':
        fast = 'channels_last+amp+fused'
        names = ['plain', 'plain+channels_last+amp', f'plain+{fast}', f'plain+{fast}+compile']
        names += [f'plain+{fast}+cuda_graphs', 'released', 'released+channels_last+amp', f'released+{fast}', 'ours']
        names += ['ours+channels_last+amp', f'ours+{fast}', f'ours+{fast}+compile', f'ours+{fast}+cuda_graphs']
        names += [f'ours+{fast}+{memory}' for memory in ('checkpoint', 'no_recompute')]
        names += [f'ours+{fast}+compile+{memory}' for memory in ('checkpoint', 'no_recompute')]
    else:
        fast = 'fused+keep_memory'
        names = []
        for method in METHODS:
            names += [method, f'{method}+keep_memory', f'{method}+{fast}', f'{method}+channels_last+{fast}']
        names += [f'plain+{fast}+compile', f'ours+{fast}+compile']
        names += [f'ours+{fast}+checkpoint', f'ours+{fast}+no_recompute']
    return [parse_variant(name) for name in names]


def model_config(network: str, variant: Variant) -> Config:
    """The recipe's model config, with the variant's settings."""
    recipe = NETWORKS[network]
    cfg = Config.fromfile(CONFIGS / (recipe.plain if variant.method == 'plain' else recipe.mixskd))
    cfg.model.data_preprocessor = cfg.data_preprocessor
    cfg.model.backbone.with_cp = variant.checkpoint
    if variant.method == 'released':
        cfg.model.type = ReleasedGraph
    if variant.method == 'released' or variant.no_recompute:
        cfg.model.recompute_stages = []
    return cfg


def build_model(network: str, variant: Variant, device: str) -> nn.Module:
    """The variant's model with the initial weights of seed 0, in training mode; on device ``meta`` without weights."""
    torch.manual_seed(0)
    model = MODELS.build(model_config(network, variant).model)
    if device != 'meta':
        model.init_weights()
    if variant.channels_last:
        use_channels_last(model)
    return model.to(device).train()


class Step:
    """One whole training step of a variant, as a Runner does it: preprocessing, forward, backward and optimiser step."""

    def __init__(self, network: str, variant: Variant, device: str) -> None:
        self.variant = variant
        self.model = build_model(network, variant, device)
        optimizer = dict(model_config(network, variant).optim_wrapper.optimizer, lr=1e-3)
        # No setting at all leaves the choice to torch.
        optimizer |= dict(fused=True) if variant.fused else {}
        wrapper = dict(type='OptimWrapper', optimizer=optimizer)
        if variant.amp:
            # bfloat16 has float32's range: nothing to scale.
            wrapper |= dict(type='AmpOptimWrapper', dtype='bfloat16', loss_scale=dict(enabled=False))
        self.optim_wrapper = build_optim_wrapper(self.model, wrapper)
        self.train_step = self.model.train_step
        if variant.compiles:
            self.train_step = torch.compile(self.train_step, mode='reduce-overhead' if variant.cuda_graphs else None)

    def prepare(self) -> None:
        """Settings of the process, which the steps of other variants may have changed."""
        keep_freed_memory(self.variant.keep_memory)

    def __call__(self, batch: dict) -> None:
        self.train_step(batch, self.optim_wrapper)


def make_loader(batch_size: int, size: int, device: str) -> Callable[[], dict]:
    """Function: the batch as a data loader gives it, in the host's memory.

    That is uint8 images ``(N, 3, size, size)``, always the same random ones, and N data samples, anew in each batch: a step
    moves their labels to the device.
    """
    generator = torch.Generator().manual_seed(0)
    images = torch.randint(256, (batch_size, 3, size, size), generator=generator, dtype=torch.uint8)
    if device == 'cuda':
        images = images.pin_memory()
    # Classes of every recipe.
    labels = torch.randint(100, (batch_size,), generator=generator)

    def load() -> dict:
        return dict(inputs=images, data_samples=[DataSample().set_gt_label(label) for label in labels])

    return load
