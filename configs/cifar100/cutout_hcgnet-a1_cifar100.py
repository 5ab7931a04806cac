# HCGNet-A1 on CIFAR-100, 1 GPU x 128 images, with Cutout (Table 1, "Cutout"): one hole of 8 x 8 pixels in each image.
_base_ = ['cutout_r18_cifar100.py', '../_base_/networks/hcgnet-a1.py']

model = _base_.network
