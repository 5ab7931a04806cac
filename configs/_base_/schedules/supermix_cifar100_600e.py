# SuperMix, supplement 1.1: 600 epochs, lr / 10 after the 200th, 300th, 400th and 500th.
optim_wrapper = dict(optimizer=dict(type='SGD', lr=0.1, momentum=0.9, weight_decay=5e-4))

param_scheduler = [dict(type='MultiStepLR', milestones=[200, 300, 400, 500], gamma=0.1)]

train_cfg = dict(type='MidEpochTrainLoop', max_epochs=600, val_interval=5)
val_cfg = dict()
test_cfg = dict()

# What --auto-scale-lr scales from: 1 GPU x 128 natural images.
auto_scale_lr = dict(base_batch_size=128)
