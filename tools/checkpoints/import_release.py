#!/usr/bin/env python
"""Convert the authors' released ImageNet checkpoint (ResNet-50) to one of MixSKDClassifier, all of it."""

import argparse

from mixskd_mm.checkpoints.release import import_release
from mixskd_mm.cli import exit_on_input_error


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('released', help="the authors' file, e.g. resnet50_mixskd.pth.tar")
    parser.add_argument('out', help='checkpoint to write')
    args = parser.parse_args()
    count = import_release(args.released, args.out)
    print(f'{args.out}: {count} tensors: backbone, classifier, branches and self-teacher')


if __name__ == '__main__':
    exit_on_input_error(main)
