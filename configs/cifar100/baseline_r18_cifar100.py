# ResNet-18 on CIFAR-100, 1 GPU x 128 images, plain cross-entropy (MixSKD, Table 1, "Baseline").
_base_ = [
    '../_base_/models/resnet18_cifar.py',
    '../_base_/datasets/cifar100.py',
    '../_base_/schedules/cifar100_205e.py',
    '../_base_/runtime.py',
]

default_hooks = dict(checkpoint=dict(interval=5))
