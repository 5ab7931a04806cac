# ResNet-50 on ImageNet, 8 GPUs x 32 images and as many mixed ones: SuperMix as an augmentation, without a teacher. Mixed
# images learn the classes of their sources by their shares.
_base_ = 'baseline_r50_imagenet-100e.py'

model = dict(type='SuperMixClassifier', mixed_labels='data')

natural = _base_.train_dataloader.dataset
# Mixed images are crops of the size already.
pipeline = [dict(type='RandomFlip', prob=0.5, direction='horizontal'), dict(type='PackInputs')]
mixed = dict(type='SuperMixDataset', data_root='data/supermix_imagenet', labels='soft', pipeline=pipeline)
both = dict(_delete_=True, type='NaturalAndMixedDataset', datasets=[natural, mixed])
train_dataloader = dict(dataset=both, batch_sampler=dict(type='NaturalMixedBatchSampler'))
