# HCGNet-A1 on CIFAR-100, 1 GPU x 128 images, plain cross-entropy (MixSKD, Table 1, "Baseline").
_base_ = ['baseline_r18_cifar100.py', '../_base_/networks/hcgnet-a1.py']

model = _base_.network
