#!/usr/bin/env python
"""What a training step of each method costs, as a multiple of the plain one: the table of docs/methods.md."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from itertools import cycle, islice
from pathlib import Path

import torch
from backbones import ratio_of_times
from mmengine.logging import MMLogger
from mmengine.optim import build_optim_wrapper
from mmengine.registry import init_default_scope
from mmengine.runner import Runner
from mmpretrain.registry import MODELS

import mixskd_mm  # noqa: F401  (registers everything)
from mixskd_mm.cli import Settings, exit_on_input_error
from mixskd_mm.configs import merge_options, read_config
from mixskd_mm.errors import InputError


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('configs', nargs='+', help='of methods')
    parser.add_argument('--on', required=True, metavar='BASELINE', help='the plain recipe that they are put onto')
    parser.add_argument('--rounds', type=int, default=15, help='of a plain step and one of the method (default: 15)')
    parser.add_argument(
        '--cfg-options', nargs='+', action=Settings, metavar='KEY=VALUE', help='override settings of the methods'
    )
    args = parser.parse_args()
    if args.rounds < 1:
        raise InputError(f'--rounds {args.rounds}: expected 1 or more')
    return args


def training_step(cfg) -> Callable[[], None]:
    """Function: preprocessing, forward, backward and optimiser step on one of four batches that are loaded before."""
    torch.manual_seed(0)
    cfg.model.data_preprocessor = cfg.data_preprocessor
    model = MODELS.build(cfg.model)
    model.init_weights()
    optim_wrapper = build_optim_wrapper(model.train(), cfg.optim_wrapper)
    loader = Runner.build_dataloader(dict(cfg.train_dataloader, num_workers=0, persistent_workers=False), seed=0)
    batches = cycle(list(islice(loader, 4)))

    def step() -> None:
        model.train_step(next(batches), optim_wrapper)

    return step


def main() -> None:
    args = parse_args()
    MMLogger.get_current_instance().setLevel('ERROR')
    init_default_scope('mmpretrain')
    plain = training_step(read_config(args.on))
    print('| method | step |\n|---|---|')
    for path in args.configs:
        cfg = read_config(path, args.on)
        merge_options(cfg, args.cfg_options or {})
        name = Path(path).stem.split('_')[0]
        print(f'| {name} | {ratio_of_times(training_step(cfg), plain, args.rounds):.1f} |', flush=True)


if __name__ == '__main__':
    exit_on_input_error(main)
