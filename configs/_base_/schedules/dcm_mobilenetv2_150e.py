# DCM, supplement 1.2: MobileNetV2 on ImageNet. 150 epochs, lr from 0.05 to 0 by a cosine.
optim_wrapper = dict(optimizer=dict(type='SGD', lr=0.05, momentum=0.9, weight_decay=4e-5))

param_scheduler = [dict(type='CosineAnnealingLR', T_max=150, eta_min=0, begin=0, end=150, convert_to_iter_based=True)]

train_cfg = dict(type='MidEpochTrainLoop', max_epochs=150, val_interval=1)
val_cfg = dict()
test_cfg = dict()

# What --auto-scale-lr scales from: 8 GPUs x 32 images.
auto_scale_lr = dict(base_batch_size=256)
