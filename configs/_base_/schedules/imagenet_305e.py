# MixSKD, appendix B.1: linear warm-up over 5 epochs, then cosine from 0.1 to 0 over 300.
optim_wrapper = dict(optimizer=dict(type='SGD', lr=0.1, momentum=0.9, weight_decay=1e-4))

iters_per_epoch = 5005  # 1,281,167 images in batches of 8 x 32
param_scheduler = [
    # lr of iteration t = 0, 1, ...: 0.1 (t + 1) / (5 iters_per_epoch)
    dict(type='LinearLR', start_factor=1 / (5 * iters_per_epoch), begin=0, end=5, convert_to_iter_based=True),
    dict(type='CosineAnnealingLR', T_max=300, eta_min=0, begin=5, end=305, convert_to_iter_based=True),
]

train_cfg = dict(type='MidEpochTrainLoop', max_epochs=305, val_interval=1)
val_cfg = dict()
test_cfg = dict()

# What --auto-scale-lr scales from: 8 GPUs x 32 images.
auto_scale_lr = dict(base_batch_size=256)
