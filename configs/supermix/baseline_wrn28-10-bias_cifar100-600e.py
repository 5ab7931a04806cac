# WRN-28-10 with biases on CIFAR-100, 1 GPU x 128 images, 600 epochs (SuperMix, supplement 2).
_base_ = ['../_base_/supermix_cifar100.py', '../_base_/networks/wrn28-10-bias.py']

model = _base_.network
