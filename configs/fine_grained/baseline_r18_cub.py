# ResNet-18 from scratch on CUB-200-2011, 1 GPU x 32 images, plain cross-entropy (Table 2, "Baseline", CUB200).
_base_ = [
    '../_base_/models/resnet18.py',
    '../_base_/datasets/cub.py',
    '../_base_/schedules/fine_grained_205e.py',
    '../_base_/runtime.py',
]

model = dict(head=dict(num_classes=200))
# lr of iteration t = 0, 1, ...: 0.1 (t + 1) / (5 iters_per_epoch)
param_scheduler = [dict(start_factor=1 / (5 * _base_.iters_per_epoch), **_base_.warm_up), _base_.decay]

default_hooks = dict(checkpoint=dict(interval=5))
