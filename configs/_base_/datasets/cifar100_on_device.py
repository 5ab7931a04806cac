# CIFAR-100 on the GPU (0.3 GB of it), cropped and flipped there with the distribution of cifar100.py. A config of CIFAR-100
# lists this file in `_base_` too, and says
#
#     train_dataloader = _base_.on_device.train_dataloader
#     val_dataloader = _base_.on_device.test_dataloader
#     test_dataloader = _base_.on_device.test_dataloader
pack = [dict(type='PackInputs')]
on_device = dict(
    train_dataloader=dict(
        _delete_=True,
        batch_size=128,
        num_workers=0,
        collate_fn=dict(type='whole_batch'),
        sampler=dict(type='DefaultSampler', shuffle=True),
        dataset=dict(
            type='OnDeviceDataset',
            dataset=dict(type='CIFAR100', data_root='data/cifar100', split='train', pipeline=pack),
            padding=4,
            flip_prob=0.5,
        ),
    ),
    test_dataloader=dict(
        _delete_=True,
        batch_size=1000,
        num_workers=0,
        collate_fn=dict(type='whole_batch'),
        sampler=dict(type='DefaultSampler', shuffle=False),
        dataset=dict(
            type='OnDeviceDataset',
            dataset=dict(type='CIFAR100', data_root='data/cifar100', split='test', pipeline=pack),
        ),
    ),
)
