# ResNet-18 from scratch on Stanford Dogs, 1 GPU x 32 images, with Mixup (Table 2, "Mixup", Dogs).
_base_ = 'baseline_r18_dogs.py'

model = dict(
    head=dict(loss=dict(use_soft=True)),
    train_cfg=dict(augments=dict(type='Mixup', alpha=0.4)),
)
