# ResNet-18 from scratch on FGVC-Aircraft, 1 GPU x 32 images, with Mixup (Table 2, "Mixup", Air).
_base_ = 'baseline_r18_aircraft.py'

model = dict(
    head=dict(loss=dict(use_soft=True)),
    train_cfg=dict(augments=dict(type='Mixup', alpha=0.4)),
)
