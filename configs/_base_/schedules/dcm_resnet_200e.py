# DCM, supplement 1.1: ResNet-110, ResNet-164 and MobileNet on CIFAR-100. 200 epochs, lr / 10 every 60.
optim_wrapper = dict(optimizer=dict(type='SGD', lr=0.1, momentum=0.9, weight_decay=1e-4))

param_scheduler = [dict(type='MultiStepLR', milestones=[60, 120, 180], gamma=0.1)]

train_cfg = dict(type='MidEpochTrainLoop', max_epochs=200, val_interval=5)
val_cfg = dict()
test_cfg = dict()

# What --auto-scale-lr scales from: 1 GPU x 64 images.
auto_scale_lr = dict(base_batch_size=64)
