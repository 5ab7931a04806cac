# ResNet-18 on CIFAR-100, 1 GPU x 128 images, with AutoAugment (Table 1, "AutoAugment"): the CIFAR-10 policy.
_base_ = 'baseline_r18_cifar100.py'

train_pipeline = [
    *_base_.train_pipeline[:-1],
    dict(type='CIFARAutoAugment'),
    dict(type='PackInputs'),
]
train_dataloader = dict(dataset=dict(pipeline=train_pipeline))
