"""Accuracy of two networks that were trained together, separately and together."""

from __future__ import annotations

from collections.abc import Sequence

from mmpretrain.evaluation import Accuracy
from mmpretrain.registry import METRICS

NETWORKS = ('network0', 'network1')


@METRICS.register_module()
class PairAccuracy(Accuracy):
    """mmpretrain's ``Accuracy``, and that of both networks if they predict together (DCM, ``test_network='mean'``).

    ``accuracy/top1`` is that of the prediction, here the mean of both networks' probabilities; beside it are
    ``accuracy/top1_network0`` and ``accuracy/top1_network1``. All in percent.

    Args:
        kwargs: Those of ``Accuracy``, such as ``topk``.
    """

    def process(self, data_batch, data_samples: Sequence[dict]) -> None:
        super().process(data_batch, data_samples)
        for result, sample in zip(self.results[-len(data_samples) :], data_samples, strict=True):
            result.update({name: sample[f'{name}_score'].cpu() for name in NETWORKS if f'{name}_score' in sample})

    def compute_metrics(self, results: list[dict]) -> dict[str, float]:
        metrics = super().compute_metrics(results)
        for name in NETWORKS:
            if name in results[0]:
                own = [dict(pred_score=result[name], gt_label=result['gt_label']) for result in results]
                metrics.update({f'{key}_{name}': value for key, value in super().compute_metrics(own).items()})
        return metrics
