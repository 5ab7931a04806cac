#!/usr/bin/env python
"""Export the weights of a training checkpoint: for mmpretrain, mmdet and mmseg, torchvision, timm, or as safetensors."""

import argparse
import json
from pathlib import Path

from mixskd_mm.checkpoints.export import FORMATS, export
from mixskd_mm.cli import exit_on_input_error
from mixskd_mm.errors import InputError


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('checkpoint', help='checkpoint of a classification run, any epoch')
    parser.add_argument('out', help='file to write')
    parser.add_argument('--format', choices=FORMATS, default='mm', help='whose names the tensors get (default: mm)')
    parser.add_argument('--ema', action='store_true', help='export the averaged weights of a run with EMAHook')
    parser.add_argument(
        '--network', type=int, default=0, metavar='0|1', help='which one of the two networks of a DCM run (default: 0)'
    )
    parser.add_argument('--metrics', metavar='FILE', help='JSON of tools/test.py --out, to be noted in the file')
    args = parser.parse_args()
    metrics = None
    if args.metrics:
        try:
            metrics = dict(json.loads(Path(args.metrics).read_text()))
        except (ValueError, TypeError) as error:
            raise InputError(f'--metrics {args.metrics}: expected the JSON of tools/test.py --out ({error})') from error
    count = export(args.checkpoint, args.out, args.format, args.ema, metrics, args.network)
    print(f'{args.out}: {count} tensors in the format {args.format}; read back, and the outputs agree')


if __name__ == '__main__':
    exit_on_input_error(main)
