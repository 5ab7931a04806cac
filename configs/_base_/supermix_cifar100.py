# A network on CIFAR-100 by SuperMix's supplement; `model = _base_.network` of a file in networks/ says which.
_base_ = ['models/resnet18_cifar.py', 'datasets/cifar100.py', 'schedules/supermix_cifar100_600e.py', 'runtime.py']

default_hooks = dict(checkpoint=dict(interval=5))
