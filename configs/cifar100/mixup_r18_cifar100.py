# ResNet-18 on CIFAR-100, 1 GPU x 128 images, with Mixup (MixSKD, Table 1, "Mixup").
_base_ = 'baseline_r18_cifar100.py'

model = dict(
    head=dict(loss=dict(use_soft=True)),
    train_cfg=dict(augments=dict(type='Mixup', alpha=0.4)),
)
