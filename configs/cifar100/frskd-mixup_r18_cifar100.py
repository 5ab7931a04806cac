# ResNet-18 on CIFAR-100, 1 GPU x 128 images, with FRSKD and Mixup (Table 1, "FRSKD + Mixup"); alpha is FRSKD's.
_base_ = 'frskd_r18_cifar100.py'

data_preprocessor = dict(type='MixupDataPreprocessor', alpha=0.2)
