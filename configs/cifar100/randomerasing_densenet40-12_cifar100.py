# DenseNet-40-12 on CIFAR-100, 1 GPU x 128 images, with Random Erasing (Table 1, "Random Erase").
_base_ = ['randomerasing_r18_cifar100.py', '../_base_/networks/densenet40-12.py']

model = _base_.network
