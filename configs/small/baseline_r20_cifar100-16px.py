# ResNet-20 on 5,000 images of CIFAR-100, reduced to 16 x 16, plain cross-entropy: the small benchmark, docs/results.md.
# All its methods share this file.
_base_ = ['../cifar100/baseline_r18_cifar100.py', '../_base_/networks/r20.py']

model = _base_.network

pack = [dict(type='PackInputs')]
images = dict(type='ReducedCIFAR100', data_root='data/cifar100', pool=2, pipeline=pack)
whole_batches = dict(_delete_=True, num_workers=0, collate_fn=dict(type='whole_batch'))
train_dataloader = dict(
    batch_size=100,
    sampler=dict(type='DefaultSampler', shuffle=True),
    # Crop and flip of the recipes for 32 x 32, with half the padding.
    dataset=dict(
        type='OnDeviceDataset', dataset=dict(images, split='train', images_per_class=50), padding=2, flip_prob=0.5
    ),
    **whole_batches,
)
val_dataloader = dict(
    batch_size=1000,
    sampler=dict(type='DefaultSampler', shuffle=False),
    dataset=dict(type='OnDeviceDataset', dataset=dict(images, split='test')),
    **whole_batches,
)
test_dataloader = val_dataloader

# Clipping lets the sum of some twenty loss terms train at the baseline's learning rate: docs/stability.md.
optim_wrapper = dict(clip_grad=dict(max_norm=5.0))
iters_per_epoch = 50  # 5,000 images in batches of 100
param_scheduler = [
    dict(type='LinearLR', start_factor=1 / (5 * iters_per_epoch), begin=0, end=5, convert_to_iter_based=True),
    dict(type='CosineAnnealingLR', T_max=95, eta_min=0, begin=5, end=100, convert_to_iter_based=True),
]
train_cfg = dict(max_epochs=100, val_interval=20)
auto_scale_lr = dict(base_batch_size=100)

default_hooks = dict(checkpoint=dict(interval=20), logger=dict(interval=50))

# For methods that transform one image after the other: `train_dataloader` with their own pipeline.
crop_and_flip = [
    dict(type='RandomCrop', crop_size=16, padding=2),
    dict(type='RandomFlip', prob=0.5, direction='horizontal'),
]
one_by_one = dict(
    _delete_=True,
    batch_size=100,
    num_workers=0,
    collate_fn=dict(type='default_collate'),
    sampler=dict(type='DefaultSampler', shuffle=True),
    dataset=dict(images, split='train', images_per_class=50),
)
