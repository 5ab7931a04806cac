# ResNet-18 on CIFAR-100, 1 GPU x 128 images, with CS-KD and Mixup (Table 1, "CS-KD + Mixup"); alpha is MixSKD's.
_base_ = 'cs-kd_r18_cifar100.py'

data_preprocessor = dict(type='MixupDataPreprocessor', alpha=0.4)
