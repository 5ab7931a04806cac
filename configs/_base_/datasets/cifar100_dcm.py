# CIFAR-100 as DCM's code has it, which is WRN's: reflected borders, and these statistics.
_base_ = 'cifar100.py'

data_preprocessor = dict(mean=[125.3, 123.0, 113.9], std=[63.0, 62.1, 66.7])

train_dataloader = dict(
    dataset=dict(
        pipeline=[
            # To 40 x 40, then a random window. With `padding=4` mmpretrain ignores the padding mode.
            dict(type='RandomCrop', crop_size=40, pad_if_needed=True, padding_mode='reflect'),
            dict(type='RandomCrop', crop_size=32),
            dict(type='RandomFlip', prob=0.5, direction='horizontal'),
            dict(type='PackInputs'),
        ]
    )
)
