# configs/cifar100/mixskd_r18_cifar100.py with the fast settings for a GPU, on which the images live too.
_base_ = [
    '../cifar100/mixskd_r18_cifar100.py',
    '../_base_/fast.py',
    '../_base_/datasets/cifar100_on_device.py',
]

optim_wrapper = _base_.fast.optim_wrapper
default_hooks = _base_.fast.default_hooks
env_cfg = _base_.fast.env_cfg
train_dataloader = _base_.on_device.train_dataloader
val_dataloader = _base_.on_device.test_dataloader
test_dataloader = _base_.on_device.test_dataloader
