# WRN-40-2 with biases on CIFAR-100, 1 GPU x 128 images and as many mixed ones: SuperMix as an augmentation, without a
# teacher. Mixed images learn the classes of their sources by their shares; neither the supplement nor the code say which.
_base_ = 'baseline_wrn40-2-bias_cifar100-600e.py'

model = dict(type='SuperMixClassifier', mixed_labels='data')

natural = _base_.train_dataloader.dataset
pipeline = [dict(step, padding=2) if step.type == 'RandomCrop' else step for step in natural.pipeline]
mixed = dict(type='SuperMixDataset', data_root='data/supermix_cifar100', labels='soft', pipeline=pipeline)
both = dict(_delete_=True, type='NaturalAndMixedDataset', datasets=[natural, mixed])
train_dataloader = dict(dataset=both, batch_sampler=dict(type='NaturalMixedBatchSampler'))
