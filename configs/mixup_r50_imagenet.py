# ResNet-50 on ImageNet, 8 GPUs x 32 images, with Mixup (MixSKD, Table 3, "+Mixup").
_base_ = 'baseline_r50_imagenet.py'

data_preprocessor = dict(type='MixupDataPreprocessor', alpha=0.2)
