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
from mixskd_mm.errors import InputError
from mixskd_mm.evaluation.test_options import augment_tests, draw_predictions, dump_predictions
from mixskd_mm.settings import check_complete


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('config', help='config file')
    parser.add_argument('checkpoint', help='checkpoint file')
    parser.add_argument(
        '--out', metavar='FILE', help='also write the metrics to this JSON file, or what --out-item names'
    )
    parser.add_argument(
        '--out-item',
        choices=['metrics', 'pred'],
        default='metrics',
        help='what --out gets; pred: the predictions, a .pkl file or, of a segmenter, a folder of PNG files',
    )
    parser.add_argument('--show-dir', metavar='FOLDER', help='draw the predictions into this folder')
    parser.add_argument(
        '--tta',
        action='store_true',
        help="test-time augmentation: the config's tta_pipeline and tta_model, or also each image's mirror image",
    )
    add_run_arguments(parser)
    return parser.parse_args()


def main() -> None:
    args = parse_args()
    cfg = load_config(args)
    cfg.load_from = args.checkpoint
    check_data_folders(cfg, ('test_dataloader',))
    check_complete(cfg)
    if args.tta:
        augment_tests(cfg)
    if args.show_dir:
        draw_predictions(cfg, args.show_dir)
    predictions = args.out_item == 'pred'
    if predictions:
        if not args.out:
            raise InputError('--out-item pred: expected --out with it')
        dump_predictions(cfg, args.out)
    with naming_storage_errors(cfg.work_dir):
        metrics = Runner.from_cfg(cfg).test()
    if args.out and not predictions and is_main_process():
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
