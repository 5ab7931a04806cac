# ResNet-18 on CIFAR-100, 1 GPU x 128 images, with CutMix in every batch (not in the paper's Table 1).
_base_ = 'baseline_r18_cifar100.py'

model = dict(
    head=dict(loss=dict(use_soft=True)),
    train_cfg=dict(augments=dict(type='CutMix', alpha=1.0)),
)
