#!/usr/bin/env python
"""Evaluate a checkpoint of a classifier, detector or segmenter."""

import argparse
import json
from pathlib import Path

from mmengine.dist import is_main_process
from mmengine.runner import Runner

from mixskd_mm.cli import add_run_arguments, exit_on_input_error, load_config
from mixskd_mm.datasets.folders import check_data_folders


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
    metrics = Runner.from_cfg(cfg).test()
    if args.out and is_main_process():
        out = Path(args.out)
        out.parent.mkdir(parents=True, exist_ok=True)
        out.write_text(json.dumps({name: float(value) for name, value in metrics.items()}, indent=2) + '\n')


if __name__ == '__main__':
    exit_on_input_error(main)
