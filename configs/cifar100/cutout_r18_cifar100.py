# ResNet-18 on CIFAR-100, 1 GPU x 128 images, with Cutout (Table 1, "Cutout"): one hole of 8 x 8 pixels in each image.
_base_ = 'baseline_r18_cifar100.py'

train_pipeline = [
    *_base_.train_pipeline[:-1],
    # The mean colour: 0 once normalised.
    dict(type='Cutout', shape=8, pad_val=[round(mean) for mean in _base_.data_preprocessor.mean], prob=1.0),
    dict(type='PackInputs'),
]
train_dataloader = dict(dataset=dict(pipeline=train_pipeline))
