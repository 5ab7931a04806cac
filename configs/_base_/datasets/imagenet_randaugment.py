_base_ = 'mmpretrain::_base_/datasets/imagenet_bs64_swin_224.py'

# Workers start anew in each epoch, seeded by EpochSeedHook: see there.
train_dataloader = dict(
    batch_size=128,
    persistent_workers=False,
    worker_init_fn=dict(type='keep_loader_seed'),
    pin_memory=True,
    collate_fn=dict(type='default_collate'),
)
val_dataloader = dict(pin_memory=True, collate_fn=dict(type='default_collate'))
test_dataloader = dict(pin_memory=True, collate_fn=dict(type='default_collate'))
