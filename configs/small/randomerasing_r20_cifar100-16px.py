# The small benchmark with Random Erasing, as in configs/cifar100/randomerasing_r18_cifar100.py.
_base_ = 'baseline_r20_cifar100-16px.py'

train_dataloader = _base_.one_by_one
train_dataloader.dataset.pipeline = [
    *_base_.crop_and_flip,
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
