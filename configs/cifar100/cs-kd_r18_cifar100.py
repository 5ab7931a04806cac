# ResNet-18 on CIFAR-100, 1 GPU x 128 images and a partner for each, with CS-KD (Table 1, "CS-KD").
_base_ = 'baseline_r18_cifar100.py'

model = dict(type='CSKDClassifier')
train_dataloader = dict(batch_sampler=dict(type='PairBatchSampler'))
