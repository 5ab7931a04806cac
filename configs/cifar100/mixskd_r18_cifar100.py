# ResNet-18 on CIFAR-100, 1 GPU x 128 images, with MixSKD (Table 1, "MixSKD").
_base_ = 'baseline_r18_cifar100.py'

model = dict(type='MixSKDClassifier')
data_preprocessor = dict(type='MixupDataPreprocessor', alpha=0.4)
