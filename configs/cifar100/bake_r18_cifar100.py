# ResNet-18 on CIFAR-100, 1 GPU x 128 images with BAKE: 32 images and 3 partners for each, so 1,563 iterations per epoch.
_base_ = 'baseline_r18_cifar100.py'

model = dict(type='BAKEClassifier')
train_dataloader = dict(batch_sampler=dict(type='GroupBatchSampler', num_partners=3))
