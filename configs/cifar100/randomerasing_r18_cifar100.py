# ResNet-18 on CIFAR-100, 1 GPU x 128 images, with Random Erasing (Table 1, "Random Erase").
_base_ = 'baseline_r18_cifar100.py'

train_pipeline = [
    *_base_.train_pipeline[:-1],
    dict(
        type='RandomErasing',
        erase_prob=0.5,
        min_area_ratio=0.02,
        max_area_ratio=0.4,
        aspect_range=(0.3, 1 / 0.3),
        mode='const',
        # The mean colour: 0 once normalised.
        fill_color=[round(mean) for mean in _base_.data_preprocessor.mean],
    ),
    dict(type='PackInputs'),
]
train_dataloader = dict(dataset=dict(pipeline=train_pipeline))
