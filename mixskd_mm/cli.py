"""What the command line tools share."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable

import torch
from mmengine.config import Config, DictAction

from mixskd_mm.errors import InputError

# Raised by the host libraries for wrong input of a kind that needs no traceback.
INPUT_ERRORS = (InputError, FileNotFoundError)


def exit_on_input_error(main: Callable[[], None]) -> None:
    """Run ``main``; if what the user gave is wrong, print one line about it and exit with status 1."""
    try:
        main()
    except INPUT_ERRORS as error:
        sys.exit(f'error: {last_line(error)}')
    except AssertionError as error:
        # mmcv's loader says so of an image file that exists but cannot be decoded.
        if 'failed to load image' not in str(error):
            raise
        sys.exit(f'error: {last_line(error)}: expected a readable image')


def last_line(error: Exception) -> str:
    """The message without the worker's traceback that a DataLoader puts before it."""
    line = str(error).strip().splitlines()[-1]
    return line.split('Error: ', 1)[-1]


def add_run_arguments(parser: argparse.ArgumentParser) -> None:
    """The arguments that training and testing share, as every OpenMMLab tool has them."""
    parser.add_argument('--work-dir', help='where logs and checkpoints go (default: ./work_dirs/<name of the config>)')
    parser.add_argument(
        '--cfg-options',
        nargs='+',
        action=DictAction,
        metavar='KEY=VALUE',
        help='override settings of the config, e.g. model.temperature=4.0 train_cfg.max_epochs=100',
    )
    parser.add_argument('--launcher', choices=['none', 'pytorch', 'slurm', 'mpi'], default='none', help='job launcher')
    # torch.distributed.launch passes it; torchrun sets the environment variable instead.
    parser.add_argument('--local_rank', '--local-rank', type=int, default=0, help=argparse.SUPPRESS)


def load_config(args: argparse.Namespace) -> Config:
    """Read ``args.config`` and apply the arguments of :func:`add_run_arguments`.

    Raises:
        InputError: if the file does not exist or is no config.
    """
    if not os.path.isfile(args.config):
        raise InputError(f'config {args.config} does not exist')
    os.environ.setdefault('LOCAL_RANK', str(args.local_rank))
    cfg = Config.fromfile(args.config)
    if args.cfg_options is not None:
        cfg.merge_from_dict(args.cfg_options)
    cfg.launcher = args.launcher
    if args.work_dir is not None:
        cfg.work_dir = args.work_dir
    elif cfg.get('work_dir') is None:
        cfg.work_dir = os.path.join('work_dirs', os.path.splitext(os.path.basename(args.config))[0])
    if cfg.launcher != 'none' and not torch.cuda.is_available():
        distribute_on_cpu(cfg)
    return cfg


def distribute_on_cpu(cfg: Config) -> None:
    """Make a distributed run work without GPUs: gloo processes, and DDP without device ids."""
    if cfg.launcher != 'pytorch':
        raise InputError(f'--launcher {cfg.launcher} found no GPU: expected GPUs, or --launcher pytorch to run on CPUs')
    # mmengine's own set-up selects a CUDA device whatever the backend.
    if not torch.distributed.is_initialized():
        torch.distributed.init_process_group('gloo')
    cfg.setdefault('model_wrapper_cfg', dict(type='MMDistributedDataParallel'))
    cfg.model_wrapper_cfg.device_ids = None
