"""Run under torchrun: two iterations of DDP for each column of the paper's Table 4; rank 0 prints what came of it."""

import json
import sys

import torch
from mmengine.model import MMDistributedDataParallel
from mmengine.optim import OptimWrapper
from mmpretrain.registry import MODELS
from mmpretrain.structures import DataSample
from torch import distributed as dist

import mixskd_mm  # noqa: F401  (registers everything)


def train(options: dict) -> dict:
    rank = dist.get_rank()
    torch.manual_seed(0)
    model = MODELS.build(
        dict(
            type='MixSKDClassifier',
            backbone=dict(type='ResNet_CIFAR', depth=18, stem_channels=8, base_channels=8, zero_init_residual=False),
            neck=dict(type='GlobalAveragePooling'),
            head=dict(type='LinearClsHead', num_classes=10, in_channels=64),
            **options,
        )
    )
    model.init_weights()
    before = {name: value.clone() for name, value in model.named_parameters()}
    ddp = MMDistributedDataParallel(
        model, device_ids=None, broadcast_buffers=False, find_unused_parameters=False
    ).train()
    optimizer = torch.optim.SGD([p for p in model.parameters() if p.requires_grad], lr=0.1)
    optim_wrapper = OptimWrapper(optimizer)
    torch.manual_seed(1 + rank)
    for _ in range(2):
        labels = torch.randint(10, (4, 1))
        data = dict(
            inputs=list(torch.randint(256, (4, 3, 16, 16), dtype=torch.uint8)),
            data_samples=[DataSample().set_gt_label(label) for label in labels],
        )
        # A parameter without a gradient makes the second iteration fail.
        logs = ddp.train_step(data, optim_wrapper)
    state = {}
    for name, value in model.named_parameters():
        others = [torch.empty_like(value) for _ in range(dist.get_world_size())]
        dist.all_gather(others, value.detach())
        state[name] = all(torch.equal(value, other) for other in others)
    lams = [torch.empty((), dtype=torch.float64) for _ in range(dist.get_world_size())]
    dist.all_gather(lams, logs['lam'].double())
    return dict(
        equal=all(state.values()),
        unchanged=[name for name, value in model.named_parameters() if torch.equal(value, before[name])],
        frozen=[name for name, value in model.named_parameters() if not value.requires_grad],
        terms=sorted(key for key in logs if key.startswith('loss_')),
        finite=all(bool(torch.isfinite(value)) for value in logs.values()),
        lams=[lam.item() for lam in lams],
    )


def main() -> None:
    dist.init_process_group('gloo')
    results = [train(options) for options in json.loads(sys.argv[1])]
    if dist.get_rank() == 0:
        print('RESULTS ' + json.dumps(results))
    dist.destroy_process_group()


if __name__ == '__main__':
    main()
