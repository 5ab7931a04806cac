# The small benchmark with RandAugment: torchvision's, 2 operations of magnitude 9, before crop and flip.
_base_ = 'baseline_r20_cifar100-16px.py'

train_dataloader = _base_.one_by_one
train_dataloader.dataset.pipeline = [
    dict(type='NumpyToPIL'),
    dict(type='torchvision/RandAugment', num_ops=2, magnitude=9),
    dict(type='PILToNumpy'),
    *_base_.crop_and_flip,
    dict(type='PackInputs'),
]
