# ResNet-18 from scratch on Stanford Cars, 1 GPU x 32 images, plain cross-entropy (Table 2, "Baseline", Cars).
_base_ = [
    '../_base_/models/resnet18.py',
    '../_base_/datasets/stanford_cars.py',
    '../_base_/schedules/fine_grained_205e.py',
    '../_base_/runtime.py',
]

model = dict(head=dict(num_classes=196))
# lr of iteration t = 0, 1, ...: 0.1 (t + 1) / (5 iters_per_epoch)
param_scheduler = [dict(start_factor=1 / (5 * _base_.iters_per_epoch), **_base_.warm_up), _base_.decay]

default_hooks = dict(checkpoint=dict(interval=5))
