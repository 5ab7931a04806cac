# ResNet-18 on CIFAR-100, 1 GPU x 128 images, with BYOT (Table 1, "BYOT").
_base_ = 'baseline_r18_cifar100.py'

model = dict(type='BYOTClassifier')
