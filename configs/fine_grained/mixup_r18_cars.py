# ResNet-18 from scratch on Stanford Cars, 1 GPU x 32 images, with Mixup (Table 2, "Mixup", Cars).
_base_ = 'baseline_r18_cars.py'

model = dict(
    head=dict(loss=dict(use_soft=True)),
    train_cfg=dict(augments=dict(type='Mixup', alpha=0.4)),
)
