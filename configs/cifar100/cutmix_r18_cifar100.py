# ResNet-18 on CIFAR-100, 1 GPU x 128 images, with CutMix in every batch (not in the paper's Table 1).
_base_ = 'baseline_r18_cifar100.py'

data_preprocessor = dict(type='MixupDataPreprocessor', mixture=dict(type='CutMix', alpha=1.0))
