# ResNet-18 on CIFAR-100, 1 GPU x 128 images, with SAD (Table 1, "SAD").
_base_ = 'baseline_r18_cifar100.py'

model = dict(type='SADClassifier')
