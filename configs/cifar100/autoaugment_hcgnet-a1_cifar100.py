# HCGNet-A1 on CIFAR-100, 1 GPU x 128 images, with AutoAugment (Table 1, "AutoAugment"): the CIFAR-10 policy.
_base_ = ['autoaugment_r18_cifar100.py', '../_base_/networks/hcgnet-a1.py']

model = _base_.network
