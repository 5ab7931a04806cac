# ResNet-18 on CIFAR-100, 1 GPU x 128 images, with Mixup (MixSKD, Table 1, "Mixup").
_base_ = 'baseline_r18_cifar100.py'

data_preprocessor = dict(type='MixupDataPreprocessor', alpha=0.4)
