# Shake-Shake-26 2x96d on CIFAR-100, 1 GPU x 128 images, 600 epochs (SuperMix, supplement 2).
_base_ = ['../_base_/supermix_cifar100.py', '../_base_/networks/shake26-2x96d.py']

model = _base_.network
