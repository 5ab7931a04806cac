# WRN-16-2 on CIFAR-100, 1 GPU x 128 images, with MixSKD (Table 1, "MixSKD").
_base_ = ['mixskd_r18_cifar100.py', '../_base_/networks/wrn16-2.py']

model = _base_.network
