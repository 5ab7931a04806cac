# ResNet-18 from scratch on MIT Indoor 67, 1 GPU x 32 images, with Mixup (Table 2, "Mixup", MIT67).
_base_ = 'baseline_r18_mit67.py'

model = dict(
    head=dict(loss=dict(use_soft=True)),
    train_cfg=dict(augments=dict(type='Mixup', alpha=0.4)),
)
