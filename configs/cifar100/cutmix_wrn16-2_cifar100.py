# WRN-16-2 on CIFAR-100, 1 GPU x 128 images, with CutMix in every batch (not in the paper's Table 1).
_base_ = ['cutmix_r18_cifar100.py', '../_base_/networks/wrn16-2.py']

model = _base_.network
