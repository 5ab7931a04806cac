#!/usr/bin/env python
"""Whether a config's training images are loaded as fast as training consumes them, and what to change if not."""

from __future__ import annotations

import argparse
import json
import math
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import cv2
import torch
from mmengine.config import ConfigDict
from mmengine.registry import init_default_scope
from mmengine.runner import Runner
from torch.utils.data import DataLoader

from mixskd_mm.cli import Settings, cores, exit_on_input_error, load_config
from mixskd_mm.datasets.folders import check_data_folders
from mixskd_mm.errors import InputError


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('config', help='config file of a training')
    consumed = parser.add_mutually_exclusive_group(required=True)
    consumed.add_argument('--consumed', type=float, metavar='X', help='images/s that training on one GPU consumes')
    consumed.add_argument(
        '--step', metavar='JSON', help='take it from what train_step.py wrote: the fastest of our variants'
    )
    parser.add_argument('--gpus', type=int, default=1, help='GPUs that this machine feeds (default: 1)')
    parser.add_argument('--images', type=int, default=512, help='how many images to load (default: 512)')
    parser.add_argument(
        '--cfg-options', nargs='+', action=Settings, metavar='KEY=VALUE', help='override settings of the config'
    )
    # What reading a config asks for besides, and nothing here uses.
    parser.set_defaults(on=None, launcher='none', work_dir=None, local_rank=0)
    args = parser.parse_args()
    for name in ('gpus', 'images'):
        if getattr(args, name) < 1:
            raise InputError(f'--{name} {getattr(args, name)}: expected 1 or more')
    return args


def consumption(args: argparse.Namespace) -> float:
    """Images/s that one GPU consumes. Raises InputError if it is no number > 0 or the file has none."""
    if args.step is None:
        consumed = args.consumed
    else:
        rows = json.loads(Path(args.step).read_text(encoding='utf-8'))['rows']
        consumed = max((row['images_per_second'] for row in rows if row['variant'].startswith('ours')), default=0)
    if not 0 < consumed < math.inf:
        source = f'--consumed {args.consumed}' if args.step is None else f'--step {args.step}: no variant of ours'
        raise InputError(f'{source}: expected images per second > 0')
    return consumed


class Timed:
    """A transform that adds the time it takes to ``times[name]``."""

    def __init__(self, transform: Callable, name: str, times: Counter) -> None:
        self.transform, self.name, self.times = transform, name, times

    def __call__(self, results: dict) -> dict:
        start = time.perf_counter()
        results = self.transform(results)
        self.times[self.name] += time.perf_counter() - start
        return results


def one_core_loader(config: ConfigDict) -> DataLoader:
    """The config's training loader, in this process and with one thread, as each of its workers runs.

    Raises InputError if its data set does not augment image by image, so that there is nothing to measure.
    """
    torch.set_num_threads(1)
    cv2.setNumThreads(0)
    config = dict(config, num_workers=0, persistent_workers=False, pin_memory=False)
    for of_workers in ('prefetch_factor', 'worker_init_fn'):
        config.pop(of_workers, None)
    loader = Runner.build_dataloader(ConfigDict(config), seed=0)
    if not hasattr(loader.dataset, 'pipeline'):
        raise InputError(
            f'train_dataloader.dataset.type={type(loader.dataset).__name__} has no pipeline: expected a data set whose '
            'images are decoded and augmented one by one'
        )
    return loader


def time_loading(loader: DataLoader, images: int) -> tuple[float, dict[str, float]]:
    """Images/s of the loader, and the share of each transform in its time; ``other`` is collating and what is between.

    The first batch is not counted. A data set that is too small is loaded again.
    """
    times: Counter = Counter()
    pipeline = loader.dataset.pipeline
    pipeline.transforms = [Timed(t, type(t).__name__, times) for t in pipeline.transforms]

    def batches():
        while True:
            yield from loader

    count, start, total = 0, 0.0, 0.0
    for i, batch in enumerate(batches()):
        if i == 0:
            times.clear()
            start = time.perf_counter()
            continue
        count += len(batch['inputs'])
        total = time.perf_counter() - start
        if count >= images:
            break
    shares = {name: seconds / total for name, seconds in times.items()}
    shares['other'] = 1 - sum(shares.values())
    return count / total, shares


def advice(
    per_core: float, shares: dict[str, float], consumed: float, workers: int, gpus: int, cores: int
) -> list[str]:
    """One or two lines: whether the loader keeps up, and what to change.

    Args:
        per_core (float): Images/s that one core loads.
        shares (dict[str, float]): Of each transform in that time.
        consumed (float): Images/s that one GPU consumes.
        workers (int): Worker processes a GPU.
        gpus (int): GPUs that the machine feeds.
        cores (int): Cores that it has.
    """
    needed = math.ceil(consumed / per_core)
    if gpus * needed <= cores:
        if needed <= workers:
            return [f'The loader keeps up: {workers} workers a GPU load {workers * per_core:.0f} images/s.']
        now = f'{workers} workers a GPU load {workers * per_core:.0f} images/s'
        if workers == 0:
            now = f'without workers it loads {per_core:.0f} images/s, and only between the steps'
        return [
            f'The loader is too slow: {now}.',
            f'Set train_dataloader.num_workers={needed}.',
        ]
    possible = cores * per_core
    slowest = max(shares, key=shares.get)
    rest = per_core / (1 - shares[slowest])
    if slowest.startswith('Load'):
        change = 'store smaller images'
    elif slowest == 'other':
        change = 'let small images live on the GPU (configs/_base_/datasets/cifar100_on_device.py)'
    else:
        change = 'use a cheaper transform'
    return [
        f'The machine is too slow: its {cores} cores load {possible:.0f} images/s, {possible / (gpus * consumed):.0%} of '
        f'what {gpus} GPU{"s" * (gpus > 1)} consume{"s" * (gpus == 1)}; {gpus * needed} cores would do.',
        f'{slowest} takes {shares[slowest]:.0%} of the time: {change}; without it a core would load {rest:.0f} images/s.',
    ]


def main() -> None:
    args = parse_args()
    consumed = consumption(args)
    cfg = load_config(args)
    init_default_scope(cfg.get('default_scope', 'mmengine'))
    check_data_folders(cfg, ('train_dataloader',))
    per_core, shares = time_loading(one_core_loader(cfg.train_dataloader), args.images)
    print('| part | share of the time |\n|---|---|')
    for name, share in shares.items():
        print(f'| {name} | {share:.0%} |')
    print(f'\nA core decodes and augments {per_core:.0f} images/s; a GPU consumes {consumed:.0f} images/s.')
    print('\n'.join(advice(per_core, shares, consumed, cfg.train_dataloader.num_workers, args.gpus, cores())))


if __name__ == '__main__':
    exit_on_input_error(main)
