# DCM, supplement 1.2: ResNet-18 and ResNet-50 on ImageNet. 100 epochs, lr / 10 every 30.
optim_wrapper = dict(optimizer=dict(type='SGD', lr=0.1, momentum=0.9, weight_decay=1e-4))

param_scheduler = [dict(type='MultiStepLR', milestones=[30, 60, 90], gamma=0.1)]

train_cfg = dict(type='MidEpochTrainLoop', max_epochs=100, val_interval=1)
val_cfg = dict()
test_cfg = dict()

# What --auto-scale-lr scales from: 8 GPUs x 32 images.
auto_scale_lr = dict(base_batch_size=256)
