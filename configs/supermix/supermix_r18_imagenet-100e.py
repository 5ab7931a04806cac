# ResNet-18 on ImageNet, 8 GPUs x 32 images and as many mixed ones, with SuperMix: mixed images learn what the teacher, a
# ResNet-34, takes them for. docs/supermix.md has the steps before.
_base_ = 'baseline_r18_imagenet-100e.py'

model = dict(
    type='SuperMixClassifier',
    ce_weight=2.0,
    mixed_weight=2.0,
    teacher=dict(
        type='ImageClassifier',
        backbone=dict(type='ResNet', depth=34),
        neck=dict(type='GlobalAveragePooling'),
        head=dict(type='LinearClsHead', num_classes=1000, in_channels=512),
    ),
    teacher_checkpoint='work_dirs/baseline_r34_imagenet-100e/epoch_100.pth',
)

natural = _base_.train_dataloader.dataset
# Mixed images are crops of the size already.
pipeline = [dict(type='RandomFlip', prob=0.5, direction='horizontal'), dict(type='PackInputs')]
mixed = dict(type='SuperMixDataset', data_root='data/supermix_imagenet', pipeline=pipeline)
both = dict(_delete_=True, type='NaturalAndMixedDataset', datasets=[natural, mixed])
train_dataloader = dict(dataset=both, batch_sampler=dict(type='NaturalMixedBatchSampler'))
