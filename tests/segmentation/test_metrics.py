import pytest
import torch
from mmengine.registry import METRICS

import mixskd_mm  # noqa: F401  (registers everything)

# Five classes. 0 and 1 are in the ground truth; 2 is only predicted; 3 and 4 are nowhere. 255 is ignored.
LABELS = [[0, 0, 1, 1], [255, 0, 1, 1]]
PREDICTED = [[0, 2, 1, 1], [3, 0, 1, 0]]
# Class 0: 2 of 4 (3 labelled, 3 predicted). Class 1: 3 of 4. Class 2: 0 of 1. The 3 is on an ignored pixel.


def evaluate(labels, predicted, classes=5, **kwargs):
    metric = METRICS.build(dict(type='AllClassIoUMetric', **kwargs))
    metric.dataset_meta = dict(classes=[f'class {i}' for i in range(classes)])
    for label, prediction in zip(labels, predicted, strict=True):
        sample = dict(
            pred_sem_seg=dict(data=torch.tensor([prediction])),
            gt_sem_seg=dict(data=torch.tensor([label])),
            img_path='a',
        )
        metric.process({}, [sample])
    return metric.evaluate(size=len(labels))


def test_three_means():
    metrics = evaluate([LABELS], [PREDICTED])
    assert metrics['mIoU'] == pytest.approx(100 * (2 / 4 + 3 / 4 + 0) / 3, abs=0.01)
    assert metrics['mIoU_present'] == pytest.approx(100 * (2 / 4 + 3 / 4) / 2, abs=0.01)
    assert metrics['mIoU_all'] == pytest.approx(100 * (2 / 4 + 3 / 4) / 5, abs=0.01)
    assert metrics['aAcc'] == pytest.approx(100 * 5 / 7, abs=0.01)


def test_sums_over_images_before_dividing():
    other = [[0, 0, 0, 0]]
    metrics = evaluate([LABELS, other], [PREDICTED, [[0, 0, 0, 1]]])
    # Class 0: 2 + 3 of 4 + 4; class 1: 3 of 4 + 1.
    assert metrics['mIoU_present'] == pytest.approx(100 * (5 / 8 + 3 / 5) / 2, abs=0.01)
    assert metrics['mIoU_all'] == pytest.approx(100 * (5 / 8 + 3 / 5) / 5, abs=0.01)


def test_coco_stuff_factor():
    """Of 182 classes 171 occur: the two means differ by that factor."""
    labels = torch.cat([torch.arange(171), torch.arange(171)])[None].tolist()
    predicted = torch.cat([torch.arange(171), torch.arange(171).roll(1)])[None].tolist()
    metrics = evaluate([labels], [predicted], classes=182)
    assert metrics['mIoU_present'] == pytest.approx(100 / 3, abs=0.01)
    assert metrics['mIoU_all'] == pytest.approx(100 / 3 * 171 / 182, abs=0.01)


def test_all_ignored():
    metrics = evaluate([[[255, 255]]], [[[0, 1]]])
    assert metrics['mIoU_all'] == 0
    assert metrics['mIoU_present'] != metrics['mIoU_present']


def test_formats_only_if_asked(tmp_path):
    assert evaluate([LABELS], [PREDICTED], format_only=True, output_dir=str(tmp_path)) == {}
    assert (tmp_path / 'a.png').exists()
