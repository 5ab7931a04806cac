# MixSKD, appendix B.1: linear warm-up over 5 epochs, lr / 10 after the 105th and 155th of 205.
optim_wrapper = dict(optimizer=dict(type='SGD', lr=0.1, momentum=0.9, weight_decay=5e-4))

iters_per_epoch = 391  # 50,000 images in batches of 128
param_scheduler = [
    # lr of iteration t = 0, 1, ...: 0.1 (t + 1) / (5 iters_per_epoch)
    dict(type='LinearLR', start_factor=1 / (5 * iters_per_epoch), begin=0, end=5, convert_to_iter_based=True),
    dict(type='MultiStepLR', milestones=[105, 155], gamma=0.1),
]

train_cfg = dict(type='MidEpochTrainLoop', max_epochs=205, val_interval=5)
val_cfg = dict()
test_cfg = dict()

# What --auto-scale-lr scales from: 1 GPU x 128 images.
auto_scale_lr = dict(base_batch_size=128)
