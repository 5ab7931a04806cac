# HCGNet-A1 on CIFAR-100, 1 GPU x 128 images, with Mixup (MixSKD, Table 1, "Mixup").
_base_ = ['mixup_r18_cifar100.py', '../_base_/networks/hcgnet-a1.py']

model = _base_.network
