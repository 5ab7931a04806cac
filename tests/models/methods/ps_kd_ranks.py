"""One of two processes: two epochs of PS-KD on its images; prints what it has stored and what it predicted itself."""

import json

import torch
from mmengine.logging import MessageHub
from mmpretrain.structures import DataSample
from small_networks import build
from torch import distributed as dist

# Images of each rank in the two steps of an epoch; the last rank is filled up with image 0, once in the same step.
IMAGES = [[[0, 1, 2], [3, 4]], [[5, 6, 0], [7, 8]]]


def main() -> None:
    dist.init_process_group('gloo')
    rank = dist.get_rank()
    model = build('PSKDClassifier', num_samples=10)
    images = torch.randn(9, 3, 16, 16, generator=torch.Generator().manual_seed(0))
    hub, own = MessageHub.get_instance('ranks'), {}
    hub.update_info('max_epochs', 2)
    for epoch in range(2):
        hub.update_info('epoch', epoch)
        for batch in IMAGES[rank]:
            samples = [DataSample(metainfo=dict(sample_idx=i)).set_gt_label(i) for i in batch]
            own.update(zip(batch, model(images[batch]).softmax(1).tolist(), strict=True))
            model.loss(images[batch], samples)
    print(json.dumps(dict(stored=model.predictions.tolist(), own=own)))
    dist.destroy_process_group()


if __name__ == '__main__':
    main()
