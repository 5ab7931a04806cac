#!/usr/bin/env python
"""Train a classifier, detector or segmenter: whatever the config describes."""

import argparse
from contextlib import nullcontext
from pathlib import Path

import torch
from mmengine.config import Config
from mmengine.runner import Runner

from mixskd_mm.checkpoints.write import naming_storage_errors
from mixskd_mm.cli import add_run_arguments, exit_on_input_error, load_config, say
from mixskd_mm.configs import read_config
from mixskd_mm.datasets.folders import check_data_folders
from mixskd_mm.errors import InputError
from mixskd_mm.locks import is_first_process, locked
from mixskd_mm.resuming.find import check_new_run, latest_checkpoint
from mixskd_mm.resuming.schedule import check_schedule, fit_schedule
from mixskd_mm.settings import check_complete


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
    parser.add_argument(
        '--reset',
        type=lambda text: text.split(','),
        metavar='SECTION,...',
        help='with --resume, take these from the config, not from the checkpoint: optim_wrapper, param_scheduler',
    )
    parser.add_argument(
        '--scale-schedule',
        action='store_true',
        help='stretch or shorten the schedule of the learning rate to another train_cfg.max_epochs or max_iters',
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
    # The length of the others is already fitted.
    if args.scale_schedule and 'own_data' not in cfg:
        fit_schedule(cfg, read_config(args.config, args.on))
    check_schedule(cfg)
    if args.auto_scale_lr:
        if 'base_batch_size' not in (cfg.get('auto_scale_lr') or {}):
            raise InputError(
                f'--auto-scale-lr: config {args.config} has no auto_scale_lr.base_batch_size to scale from'
            )
        cfg.auto_scale_lr.enable = True
    check_data_folders(cfg, ('train_dataloader', 'val_dataloader'))
    check_complete(cfg)
    # One process of a run has the folder.
    lock = locked(Path(cfg.work_dir), '.training.lock') if is_first_process(cfg.launcher) else nullcontext()
    with lock, naming_storage_errors(cfg.work_dir):
        choose_checkpoint(cfg, args.resume if args.resume is not None else cfg.get('resume', False))
        if args.reset:
            if not cfg.resume:
                raise InputError(
                    f'--reset {",".join(args.reset)}: expected it with --resume and a checkpoint to continue'
                )
            cfg.default_hooks.resume_check = dict(type='mixskd_mm.engine.ResumeCheckHook', reset=args.reset)
        Runner.from_cfg(cfg).train()


def choose_checkpoint(cfg: Config, resume: bool | str) -> None:
    """Set ``cfg.resume`` and ``cfg.load_from``.

    Args:
        cfg (Config): Its ``work_dir`` is where the run's own checkpoints are.
        resume (bool | str): Whether to continue the latest checkpoint there (``'auto'`` or True), or which one.

    Raises:
        InputError: if the folder holds the checkpoints of another run.
    """
    folder = Path(cfg.work_dir)
    # As CheckpointHook has it.
    out_dir = (cfg.get('default_hooks') or {}).get('checkpoint', {}).get('out_dir')
    folder = Path(out_dir) / folder.name if out_dir else folder
    if resume in ('auto', True):
        latest, notes = latest_checkpoint(folder)
        for note in notes:
            say(note)
        if latest is None:
            say(f'{folder} has no checkpoint: the run starts anew')
        cfg.resume = latest is not None
        if latest is not None:
            cfg.load_from = str(latest)
    elif resume:
        cfg.resume, cfg.load_from = True, resume
    else:
        cfg.resume = False
        check_new_run(folder)


if __name__ == '__main__':
    exit_on_input_error(main)
