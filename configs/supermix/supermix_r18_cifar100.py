# ResNet-18 on CIFAR-100, 1 GPU x 128 images and as many mixed ones, with SuperMix; docs/supermix.md says how to make them.
_base_ = '../cifar100/baseline_r18_cifar100.py'

checkpoint = 'work_dirs/baseline_r18_cifar100/epoch_205.pth'
model = dict(type='SuperMixClassifier', teacher=_base_.model, teacher_checkpoint=checkpoint)
natural = _base_.train_dataloader.dataset
pipeline = [dict(step, padding=2) if step.type == 'RandomCrop' else step for step in natural.pipeline]
mixed = dict(type='SuperMixDataset', data_root='data/supermix_cifar100', pipeline=pipeline)
both = dict(_delete_=True, type='NaturalAndMixedDataset', datasets=[natural, mixed])
train_dataloader = dict(dataset=both, batch_sampler=dict(type='NaturalMixedBatchSampler'))
