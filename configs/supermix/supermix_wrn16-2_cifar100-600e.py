# WRN-16-2 on CIFAR-100, 1 GPU x 128 images and as many mixed ones, with SuperMix: mixed images learn what the teacher, a
# WRN-40-2, takes them for ("Eq. 9" of the authors' README). docs/supermix.md has the steps before, and other pairs.
_base_ = 'baseline_wrn16-2_cifar100-600e.py'

model = dict(
    type='SuperMixClassifier',
    ce_weight=2.0,
    mixed_weight=2.0,
    teacher=dict(
        type='ImageClassifier',
        backbone=dict(type='WideResNet_CIFAR', depth=40, widen_factor=2),
        neck=dict(type='GlobalAveragePooling'),
        head=dict(type='LinearClsHead', num_classes=100, in_channels=128),
    ),
    teacher_checkpoint='work_dirs/baseline_wrn40-2_cifar100-600e/epoch_600.pth',
)

natural = _base_.train_dataloader.dataset
# As the authors': mixed images are padded by 2 pixels, natural ones by 4.
pipeline = [dict(step, padding=2) if step.type == 'RandomCrop' else step for step in natural.pipeline]
mixed = dict(type='SuperMixDataset', data_root='data/supermix_cifar100', pipeline=pipeline)
both = dict(_delete_=True, type='NaturalAndMixedDataset', datasets=[natural, mixed])
train_dataloader = dict(dataset=both, batch_sampler=dict(type='NaturalMixedBatchSampler'))
