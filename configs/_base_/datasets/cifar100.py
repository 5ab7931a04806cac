_base_ = 'mmpretrain::_base_/datasets/cifar100_bs16.py'

# The authors' statistics of the training set, in 0-255 units.
data_preprocessor = dict(
    mean=[0.5071 * 255, 0.4867 * 255, 0.4408 * 255],
    std=[0.2675 * 255, 0.2565 * 255, 0.2761 * 255],
)

# Workers start anew in each epoch, seeded by EpochSeedHook: see there.
train_dataloader = dict(
    batch_size=128,
    persistent_workers=False,
    worker_init_fn=dict(type='keep_loader_seed'),
    pin_memory=True,
    collate_fn=dict(type='default_collate'),
)
val_dataloader = dict(batch_size=128, pin_memory=True, collate_fn=dict(type='default_collate'))
test_dataloader = dict(batch_size=128, pin_memory=True, collate_fn=dict(type='default_collate'))
val_evaluator = dict(type='Accuracy', topk=(1, 5))
test_evaluator = dict(type='Accuracy', topk=(1, 5))
