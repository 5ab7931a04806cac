# MixSKD exactly as the authors' released ImageNet script trains it: 8 GPUs x 16 images.
# docs/paper_vs_release.md explains each line.
_base_ = 'mixskd_r50_imagenet.py'

model = dict(
    clean_weight=1.0,
    # Two logits, mean over batch and logits: a quarter of Eq. (8) summed over both. Never trained.
    dis_weight=0.25,
    discriminator=dict(type='Discriminator', num_logits=2, frozen=True),
    # PyTorch's default initialisation of the classifiers.
    head=dict(init_cfg=None),
)
train_dataloader = dict(batch_size=16)

iters_per_epoch = 10010  # 1,281,167 images in batches of 8 x 16
param_scheduler = [
    dict(type='LinearLR', start_factor=1 / (5 * iters_per_epoch), begin=0, end=5, convert_to_iter_based=True),
    # Once an epoch, so that the last one has 0.05 (1 + cos(299/300 pi)).
    dict(type='CosineAnnealingLR', T_max=300, eta_min=0, begin=5, end=305),
]
auto_scale_lr = dict(base_batch_size=128)
