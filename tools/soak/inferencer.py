"""Open a checkpoint as a user of mmdet's inferencer does, who has imported this package."""

import sys

from mmdet.apis import DetInferencer

import mixskd_mm  # noqa: F401

DetInferencer(weights=sys.argv[1], device='cpu')
