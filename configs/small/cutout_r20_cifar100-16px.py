# The small benchmark with Cutout: one hole of 4 x 4 pixels in each image, half as wide as that of 32 x 32 images.
_base_ = 'baseline_r20_cifar100-16px.py'

train_dataloader = _base_.one_by_one
train_dataloader.dataset.pipeline = [
    *_base_.crop_and_flip,
    dict(type='Cutout', shape=4, pad_val=[round(mean) for mean in _base_.data_preprocessor.mean], prob=1.0),
    dict(type='PackInputs'),
]
