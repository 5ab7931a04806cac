#!/usr/bin/env python
"""Export the weights of a training checkpoint for other libraries, with class names and what images they need."""

import argparse
import json
from pathlib import Path

from mixskd_mm.checkpoints.export import read_training, write_export
from mixskd_mm.checkpoints.formats import FORMATS
from mixskd_mm.cli import exit_on_input_error
from mixskd_mm.errors import InputError


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('checkpoint', help='checkpoint of a classification run, any epoch')
    parser.add_argument('out', help='file to write; with timm-folder a new folder')
    formats = '; '.join(f'{name}: {format.text}' for name, format in FORMATS.items())
    parser.add_argument('--format', choices=tuple(FORMATS), default='mm', help=f'who reads it (default: mm). {formats}')
    parser.add_argument('--ema', action='store_true', help='export the averaged weights of a run with EMAHook')
    parser.add_argument(
        '--network', type=int, default=0, metavar='0|1', help='which one of the two networks of a DCM run (default: 0)'
    )
    parser.add_argument('--metrics', metavar='FILE', help='JSON of tools/test.py --out, to be noted in the file')
    parser.add_argument(
        '--size',
        type=int,
        nargs='+',
        metavar='PIXELS',
        help="height and width, or one for both, of the images that an ONNX file takes (default: the recipe's in tests)",
    )
    args = parser.parse_args()
    metrics = None
    if args.metrics:
        try:
            metrics = dict(json.loads(Path(args.metrics).read_text(encoding='utf-8')))
        except (ValueError, TypeError) as error:
            raise InputError(f'--metrics {args.metrics}: expected the JSON of tools/test.py --out ({error})') from error
    if args.size and (len(args.size) > 2 or min(args.size) < 1):
        raise InputError(f'--size {" ".join(map(str, args.size))}: expected one or two numbers of pixels')
    trained = read_training(args.checkpoint, args.ema, metrics, args.network)
    size = (args.size[0], args.size[-1]) if args.size else None
    count = write_export(trained, args.out, args.format, size)
    images = trained.images or 'images unknown (the checkpoint does not say how they are normalised)'
    print(f'{args.out}: {count} tensors in the format {args.format}; read back, and the outputs agree; takes {images}')


if __name__ == '__main__':
    exit_on_input_error(main)
