# ResNet-18 on CIFAR-100, 1 GPU x 128 images, with FRSKD (Table 1, "FRSKD").
_base_ = 'baseline_r18_cifar100.py'

model = dict(type='FRSKDClassifier')
