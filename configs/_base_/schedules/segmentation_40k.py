# MixSKD, appendix B.3: 40,000 iterations, SGD 0.02 decayed by (1 - iter / total)^0.9. Weight decay and floor are mmseg's.
optim_wrapper = dict(
    type='OptimWrapper',
    optimizer=dict(type='SGD', lr=0.02, momentum=0.9, weight_decay=5e-4),
    clip_grad=None,
)
param_scheduler = [dict(type='PolyLR', power=0.9, eta_min=1e-4, begin=0, end=40000, by_epoch=False)]

train_cfg = dict(type='IterBasedTrainLoop', max_iters=40000, val_interval=4000)
val_cfg = dict(type='ValLoop')
test_cfg = dict(type='TestLoop')

# What --auto-scale-lr scales from: 8 GPUs x 2 images.
auto_scale_lr = dict(enable=False, base_batch_size=16)
