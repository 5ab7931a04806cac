# DCM, supplement 1.1: WRN, and pairs of different networks. 200 epochs, lr / 5 after the 60th, 120th and 160th.
optim_wrapper = dict(optimizer=dict(type='SGD', lr=0.1, momentum=0.9, weight_decay=5e-4))

param_scheduler = [dict(type='MultiStepLR', milestones=[60, 120, 160], gamma=0.2)]

train_cfg = dict(type='MidEpochTrainLoop', max_epochs=200, val_interval=5)
val_cfg = dict()
test_cfg = dict()

# What --auto-scale-lr scales from: 1 GPU x 128 images.
auto_scale_lr = dict(base_batch_size=128)
