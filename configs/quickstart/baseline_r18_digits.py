# A 16-channel ResNet-18 on 20 digits a class, plain cross-entropy. All three configs share this schedule.
_base_ = [
    '../_base_/models/resnet18_cifar.py',
    '../_base_/datasets/digits.py',
    '../_base_/runtime.py',
]

model = dict(
    backbone=dict(stem_channels=16, base_channels=16),
    head=dict(num_classes=10, in_channels=128, topk=(1,)),
)

# Clipping lets the sum of some twenty loss terms train at the baseline's learning rate: docs/stability.md.
optim_wrapper = dict(
    optimizer=dict(type='SGD', lr=0.1, momentum=0.9, weight_decay=5e-4),
    clip_grad=dict(max_norm=5.0),
)
iters_per_epoch = 4  # 200 images in batches of 50
param_scheduler = [
    dict(type='LinearLR', start_factor=1 / (5 * iters_per_epoch), begin=0, end=5, convert_to_iter_based=True),
    dict(type='CosineAnnealingLR', T_max=55, eta_min=0, begin=5, end=60, convert_to_iter_based=True),
]
train_cfg = dict(type='MidEpochTrainLoop', max_epochs=60, val_interval=15)
val_cfg = dict()
test_cfg = dict()
auto_scale_lr = dict(base_batch_size=50)

default_hooks = dict(
    logger=dict(interval=4),
    checkpoint=dict(interval=60),
)
