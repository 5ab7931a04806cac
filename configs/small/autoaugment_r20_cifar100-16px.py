# The small benchmark with AutoAugment: the CIFAR-10 policy.
_base_ = 'baseline_r20_cifar100-16px.py'

train_dataloader = _base_.one_by_one
train_dataloader.dataset.pipeline = [*_base_.crop_and_flip, dict(type='CIFARAutoAugment'), dict(type='PackInputs')]
