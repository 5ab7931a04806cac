# ResNet-50 on ImageNet, 8 GPUs x 32 images, with Mixup (MixSKD, Table 3, "+Mixup").
_base_ = 'baseline_r50_imagenet.py'

model = dict(
    head=dict(loss=dict(use_soft=True)),
    train_cfg=dict(augments=dict(type='Mixup', alpha=0.2)),
)
