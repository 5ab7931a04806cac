#!/usr/bin/env python
"""Train a classifier, detector or segmenter: whatever the config describes."""

import argparse

import torch
from mmengine.runner import Runner

from mixskd_mm.cli import add_run_arguments, exit_on_input_error, load_config
from mixskd_mm.datasets.folders import check_data_folders
from mixskd_mm.errors import InputError


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('config', help='config file')
    parser.add_argument(
        '--resume',
        nargs='?',
        const='auto',
        metavar='CHECKPOINT',
        help='continue from this checkpoint, or without one from the latest in the work directory',
    )
    parser.add_argument('--amp', action='store_true', help='automatic mixed precision (GPU)')
    parser.add_argument('--no-validate', action='store_true', help='do not evaluate during training')
    parser.add_argument(
        '--auto-scale-lr',
        action='store_true',
        help="scale the learning rate by the ratio of the real global batch to the recipe's",
    )
    add_run_arguments(parser)
    return parser.parse_args()


def main() -> None:
    args = parse_args()
    cfg = load_config(args)
    if args.no_validate:
        cfg.val_cfg = cfg.val_dataloader = cfg.val_evaluator = None
    if args.amp:
        if not torch.cuda.is_available():
            raise InputError(
                '--amp found no GPU: expected one, since mixed precision training on CPUs is not supported'
            )
        cfg.optim_wrapper.type = 'AmpOptimWrapper'
        cfg.optim_wrapper.setdefault('loss_scale', 'dynamic')
    if args.resume is not None:
        cfg.resume = True
        cfg.load_from = None if args.resume == 'auto' else args.resume
    if args.auto_scale_lr:
        if 'base_batch_size' not in cfg.get('auto_scale_lr', {}):
            raise InputError(
                f'--auto-scale-lr: config {args.config} has no auto_scale_lr.base_batch_size to scale from'
            )
        cfg.auto_scale_lr.enable = True
    check_data_folders(cfg, ('train_dataloader', 'val_dataloader'))
    Runner.from_cfg(cfg).train()


if __name__ == '__main__':
    exit_on_input_error(main)
