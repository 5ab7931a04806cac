import pytest
import torch
from mmengine.evaluator import Evaluator
from mmpretrain.structures import DataSample

import mixskd_mm  # noqa: F401  (registers everything)


def sample(label, **favourites):
    """A sample whose scores have their maximum at the given classes."""
    data = DataSample().set_gt_label(label)
    for field, favourite in favourites.items():
        setattr(data, field, torch.eye(4)[favourite])
    return data


def test_both_networks_and_what_is_predicted():
    evaluator = Evaluator(dict(type='PairAccuracy', topk=(1, 2)))
    samples = [
        sample(i % 4, pred_score=i % 4 if i < 6 else 3 - i % 4, network0_score=0, network1_score=3) for i in range(7)
    ]
    # In two batches, of labels 0 1 2 3 and 0 1 2.
    evaluator.process(samples[:4])
    evaluator.process(samples[4:])
    metrics = evaluator.evaluate(len(samples))
    top1 = {name: value for name, value in metrics.items() if 'top1' in name}
    assert top1 == pytest.approx(
        {'accuracy/top1': 600 / 7, 'accuracy/top1_network0': 200 / 7, 'accuracy/top1_network1': 100 / 7}
    )
    assert set(metrics) - set(top1) == {'accuracy/top2', 'accuracy/top2_network0', 'accuracy/top2_network1'}


def test_one_network_is_as_in_mmpretrain():
    samples = [sample(i, pred_score=i % 2) for i in range(3)]
    results = []
    for kind in ('Accuracy', 'PairAccuracy'):
        evaluator = Evaluator(dict(type=kind))
        evaluator.process(samples)
        results.append(evaluator.evaluate(3))
    assert results[0] == results[1] == pytest.approx({'accuracy/top1': 200 / 3})
