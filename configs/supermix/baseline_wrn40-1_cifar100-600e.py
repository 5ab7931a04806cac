# WRN-40-1 on CIFAR-100, 1 GPU x 128 images, 600 epochs (SuperMix, supplement 1.1).
_base_ = ['../_base_/supermix_cifar100.py', '../_base_/networks/wrn40-1.py']

model = _base_.network
