# HCGNet-A1 on CIFAR-100, 1 GPU x 128 images, with RandAugment (Table 1, "RandAugment"): torchvision's, 2 operations of
# magnitude 9, before crop and flip.
_base_ = ['randaugment_r18_cifar100.py', '../_base_/networks/hcgnet-a1.py']

model = _base_.network
