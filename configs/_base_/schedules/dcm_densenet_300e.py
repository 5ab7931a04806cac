# DCM, supplement 1.1: DenseNet-40-12. 300 epochs, lr / 10 after half and three quarters of them.
optim_wrapper = dict(optimizer=dict(type='SGD', lr=0.1, momentum=0.9, weight_decay=1e-4, nesterov=True))

param_scheduler = [dict(type='MultiStepLR', milestones=[150, 225], gamma=0.1)]

train_cfg = dict(type='MidEpochTrainLoop', max_epochs=300, val_interval=5)
val_cfg = dict()
test_cfg = dict()

# What --auto-scale-lr scales from: 1 GPU x 64 images.
auto_scale_lr = dict(base_batch_size=64)
