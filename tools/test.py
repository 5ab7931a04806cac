#!/usr/bin/env python
"""Evaluate a checkpoint of a classifier, detector or segmenter."""

import argparse
import json
import math

from mmengine.dist import is_main_process
from mmengine.runner import Runner

from mixskd_mm.checkpoints.write import naming_storage_errors, write_text
from mixskd_mm.cli import add_run_arguments, exit_on_input_error, load_config
from mixskd_mm.datasets.folders import check_data_folders
from mixskd_mm.settings import check_complete


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('config', help='config file')
    parser.add_argument('checkpoint', help='checkpoint file')
    parser.add_argument('--out', metavar='FILE', help='also write the metrics to this JSON file')
    add_run_arguments(parser)
    return parser.parse_args()


def main() -> None:
    args = parse_args()
    cfg = load_config(args)
    cfg.load_from = args.checkpoint
    check_data_folders(cfg, ('test_dataloader',))
    check_complete(cfg)
    with naming_storage_errors(cfg.work_dir):
        metrics = Runner.from_cfg(cfg).test()
    if args.out and is_main_process():
        write_text(args.out, json.dumps(plain(metrics), indent=2) + '\n')


def plain(value):
    """``value`` as JSON has it: tensors and arrays as lists, NaN and infinities as null."""
    if isinstance(value, dict):
        return {name: plain(part) for name, part in value.items()}
    if hasattr(value, 'tolist'):
        value = value.tolist()
    if isinstance(value, list | tuple):
        return [plain(part) for part in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


if __name__ == '__main__':
    exit_on_input_error(main)
