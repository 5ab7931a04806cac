# ResNet-18 on CIFAR-100, 1 GPU x 128 images in two views each, with DDGSD (Table 1, "DDGSD").
_base_ = 'baseline_r18_cifar100.py'

model = dict(type='DDGSDClassifier')
train_dataloader = dict(batch_sampler=dict(type='TwoViewBatchSampler'))
