# ConvNeXt-T on ImageNet, 32 GPUs x 128 images, AdamW and an average of weights, as mmpretrain trains it
# (convnext-tiny_32xb128_in1k), but with plain cross-entropy: mixed images belong to the method, labels are not smoothed.
_base_ = [
    'mmpretrain::_base_/models/convnext/convnext-tiny.py',
    '_base_/datasets/imagenet_randaugment.py',
    'mmpretrain::_base_/schedules/imagenet_bs1024_adamw_swin.py',
    '_base_/runtime.py',
]

model = dict(head=dict(loss=dict(_delete_=True, type='CrossEntropyLoss')), train_cfg=None)
optim_wrapper = dict(optimizer=dict(lr=4e-3))
custom_hooks = [dict(type='EMAHook', momentum=1e-4, priority='ABOVE_NORMAL')]

# What --auto-scale-lr scales from: 32 GPUs x 128 images.
auto_scale_lr = dict(base_batch_size=4096)
