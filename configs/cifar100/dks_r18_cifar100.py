# ResNet-18 on CIFAR-100, 1 GPU x 128 images, with DKS (Table 1, "DKS").
_base_ = 'baseline_r18_cifar100.py'

model = dict(type='DKSClassifier')
