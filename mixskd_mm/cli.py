"""What the command line tools share."""

from __future__ import annotations

import argparse
import ctypes
import os
import signal
import sys
from collections.abc import Callable
from urllib.error import URLError

import torch
from mmengine.config import Config

from mixskd_mm.configs import Typed, distribute_on_cpu, merge_options, read_config
from mixskd_mm.datasets.folders import check_annotation_formats
from mixskd_mm.datasets.skipped_files import empty_dataset, no_images
from mixskd_mm.errors import InputError, last_line
from mixskd_mm.own_data import complete
from mixskd_mm.settings import (
    check_settings,
    describe_argument,
    describe_failure,
    naming_settings,
    settings_with,
    write_traceback,
)
from mixskd_mm.settings.values import shorten

# Status of a process that ends since another one did, as after a hang-up (128 + SIGHUP): nothing is wrong with the input.
OTHER_ENDED = 129
# The config of the run, from when it was read.
_config: Config | None = None


def exit_on_input_error(main: Callable[[], None]) -> None:
    """Run ``main``; if it fails, print one line about it and exit with status 1.

    What may be a bug keeps its traceback in a file, in the work directory if there is one, that the line names. After
    Ctrl-C the status is 130, and where another process ended or was stuck it is :data:`OTHER_ENDED`.
    """
    global _config
    _config = None
    with naming_settings():
        try:
            main()
        except Exception as error:
            if (message := describe_process_failure(error)) is not None:
                print(f'error: {message}', file=sys.stderr)
                sys.exit(OTHER_ENDED)
            message = describe_input_error(error, _config)
            if message is None:
                message = describe_bug(error, _config)
            sys.exit(f'error: {message}')
        except KeyboardInterrupt:
            if os.environ.get('RANK', '0') == '0':
                print('error: interrupted; --resume continues a training from its last checkpoint', file=sys.stderr)
            # As a shell reports it.
            sys.exit(128 + signal.SIGINT)


def describe_bug(error: Exception, cfg: Config | None) -> str:
    """One line about an exception that nobody expected, with the file that its traceback is written to."""
    config = cfg._cfg_dict if cfg is not None else None
    reason = f'{type(error).__name__}: {shorten(str(error))}'
    where = f' with config {cfg.filename}' if cfg is not None else ''
    described = describe_failure(error, config) if config is not None else None
    line = described or f'{reason}: expected to get through{where}'
    return f'{line}; traceback in {write_traceback(error, config and config.get("work_dir"))}'


def describe_input_error(error: Exception, cfg: Config | None = None) -> str | None:
    """One line about wrong input, or None if ``error`` may be a bug and deserves its traceback.

    With the config of the run, ``cfg``, the line names the setting that was being built.

    The host libraries report missing files, empty folders and undecodable images with exceptions of their own.
    """
    message = last_line(error)
    if cfg is not None and (described := describe_argument(error, cfg._cfg_dict)):
        return described
    if isinstance(error, InputError):
        return (settings_with(cfg._cfg_dict, error.file) if cfg is not None and error.file else '') + message
    if (dataset := empty_dataset(error)) is not None:
        return no_images(dataset)
    if isinstance(error, URLError):
        return f'download failed ({error.reason}): expected a connection, or the data in the data_root of the config'
    if isinstance(error, FileNotFoundError) and error.filename != '':
        setting = settings_with(cfg._cfg_dict, error.filename) if cfg is not None and error.filename else ''
        return f'{setting}{error.filename or message} does not exist: expected the file or folder that the config names'
    if isinstance(error, RuntimeError) and message.startswith(('Found 0 files', 'Found no valid file')):
        return f'{message}: expected one folder of images for each class'
    if isinstance(error, AssertionError) and 'failed to load image' in message:
        return f'{message}: expected a readable image'
    if isinstance(error, AssertionError) and message.startswith(('The number of subfolders', 'The split must be')):
        return message
    if isinstance(error, RuntimeError) and message.startswith('Cannot find CIFAR'):
        # Also what mmpretrain says of files that are there, but damaged.
        return f'{message.partition(", you can")[0]}: expected the published files, which have known checksums'
    if isinstance(error, AssertionError) and 'AmpOptimizerWrapper' in message and 'only available' in message:
        return 'optim_wrapper.type=AmpOptimWrapper found no GPU: expected one for mixed precision (configs/fast, --amp)'
    if isinstance(error, KeyError) and 'registry. Please check' in message:
        return f'{message.strip(chr(39)).split(" registry. ")[0]} registry: expected the name of a registered class'
    if isinstance(error, TypeError) and '__init__() got an unexpected keyword argument' in message:
        return f'{message}: expected only arguments of that class in its config'
    return None


def describe_process_failure(error: Exception) -> str | None:
    """One line about an error that another process caused: another rank, or a worker of a loader; None for others."""
    message = last_line(error)
    rank = f'rank {os.environ["RANK"]}: ' if 'RANK' in os.environ else ''
    if isinstance(error, torch.distributed.DistError) or (isinstance(error, RuntimeError) and '/gloo/' in message):
        reason = message.rpartition('] ')[2]
        return (
            f'{rank}another process ended or was stuck ({reason}): expected all in step within env_cfg.dist_cfg.timeout'
        )
    if isinstance(error, RuntimeError) and message.startswith('DataLoader timed out'):
        return f'{rank}{message}: expected a batch within env_cfg.dist_cfg.timeout, or the timeout of the dataloader'
    if isinstance(error, RuntimeError) and message.startswith('DataLoader worker'):
        return (
            f'{rank}{message}: expected it to live; the system ends processes when memory is short, which fewer num_workers '
            'need less of'
        )
    return None


def say(line: str) -> None:
    """Print a line, in the first process of a run only."""
    if os.environ.get('RANK', '0') == '0':
        print(line, flush=True)


def end_with_launcher() -> None:
    """Let the system end this process when the process that launched it dies, even by SIGKILL; on Linux only.

    torchrun ends its workers, but not if it is killed: they would train on, on GPUs that nobody knows to be in use.
    """
    if sys.platform == 'linux' and 'LOCAL_WORLD_SIZE' in os.environ:
        PR_SET_PDEATHSIG = 1
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)


def cores() -> int:
    """Number of processors that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, 'sched_getaffinity') else os.cpu_count() or 1


class Settings(argparse.Action):
    """``KEY=VALUE`` arguments as a dict of :class:`Typed` values. Raises InputError for one without ``=``."""

    def __call__(self, parser, namespace, values, option_string=None) -> None:
        options = dict(getattr(namespace, self.dest, None) or {})
        for setting in values:
            key, separator, value = setting.partition('=')
            if not separator:
                raise InputError(f'{option_string} {setting}: expected KEY=VALUE')
            options[key] = Typed(value)
        setattr(namespace, self.dest, options)


def add_run_arguments(parser: argparse.ArgumentParser) -> None:
    """The arguments that training and testing share, as every OpenMMLab tool has them."""
    parser.add_argument(
        '--on',
        metavar='BASELINE',
        help="another network or data set: the config's lines go onto this baseline_*.py instead of its own",
    )
    parser.add_argument('--work-dir', help='where logs and checkpoints go (default: ./work_dirs/<name of the config>)')
    parser.add_argument(
        '--cfg-options',
        nargs='+',
        action=Settings,
        metavar='KEY=VALUE',
        help='override settings of the config, e.g. model.temperature=4.0 train_dataloader.num_workers=8',
    )
    parser.add_argument('--launcher', choices=['none', 'pytorch', 'slurm', 'mpi'], default='none', help='job launcher')
    # torch.distributed.launch passes it; torchrun sets the environment variable instead.
    parser.add_argument('--local_rank', '--local-rank', type=int, default=0, help=argparse.SUPPRESS)


def load_config(args: argparse.Namespace) -> Config:
    """Read ``args.config`` and apply the arguments of :func:`add_run_arguments`.

    Raises:
        InputError: if the file does not exist or is no config, or if its data would run code.
    """
    if not os.path.isfile(args.config):
        raise InputError(f'config {args.config} does not exist')
    os.environ.setdefault('LOCAL_RANK', str(args.local_rank))
    global _config
    cfg = _config = read_config(args.config, args.on)
    merge_options(cfg, args.cfg_options or {})
    complete(cfg)
    for notice in check_settings(cfg):
        # Not among what a tool prints.
        print(f'warning: {notice}', file=sys.stderr)
    if 'model' not in cfg:
        raise InputError(f'config {args.config} has no model: expected the config of a training')
    check_annotation_formats(cfg)
    cfg.launcher = args.launcher
    end_with_launcher()
    if args.work_dir is not None:
        cfg.work_dir = args.work_dir
    elif cfg.get('work_dir') is None:
        cfg.work_dir = os.path.join('work_dirs', os.path.splitext(os.path.basename(cfg.filename))[0])
    if cfg.launcher != 'none' and not torch.cuda.is_available():
        distribute_on_cpu(cfg)
    return cfg
