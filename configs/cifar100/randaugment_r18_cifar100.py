# ResNet-18 on CIFAR-100, 1 GPU x 128 images, with RandAugment (Table 1, "RandAugment"): torchvision's, 2 operations of
# magnitude 9, before crop and flip.
_base_ = 'baseline_r18_cifar100.py'

train_pipeline = [
    dict(type='NumpyToPIL'),
    dict(type='torchvision/RandAugment', num_ops=2, magnitude=9),
    dict(type='PILToNumpy'),
    *_base_.train_pipeline,
]
train_dataloader = dict(dataset=dict(pipeline=train_pipeline))
