# DenseNet-40-12 on CIFAR-100, 1 GPU x 128 images, with Manifold Mixup (Table 1, "Manifold Mixup").
_base_ = ['manifoldmixup_r18_cifar100.py', '../_base_/networks/densenet40-12.py']

model = _base_.network
