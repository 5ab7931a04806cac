"""Mean IoU, over the classes that are there and over all of them."""

from __future__ import annotations

import numpy as np
import torch
from mmseg.evaluation import IoUMetric


class AllClassIoUMetric(IoUMetric):
    """mmseg's ``IoUMetric`` that also reports the mean of the paper's segmentation code.

    - ``mIoU``: mmseg's. Classes that are neither in the ground truth nor predicted do not count.
    - ``mIoU_present``: over the classes that are in the ground truth.
    - ``mIoU_all``: over all classes, those without ground truth with 0, as in the paper's code. On COCO-Stuff with 182
      classes, of which 171 occur, it is ``mIoU_present`` x 171/182.

    All in percent, rounded to two decimals.
    """

    def compute_metrics(self, results: list) -> dict[str, float]:
        metrics = super().compute_metrics(results)
        if not self.format_only:
            intersect, union, _, label = (
                # In float32 the sum of many images' pixels is not exact.
                torch.stack(areas).double().sum(0).numpy()
                for areas in zip(*results, strict=True)
            )
            iou = intersect / np.maximum(union, 1)
            present = label > 0
            metrics['mIoU_present'] = round(100 * float(iou[present].mean()), 2) if present.any() else float('nan')
            metrics['mIoU_all'] = round(100 * float(iou.mean()), 2)
        return metrics
