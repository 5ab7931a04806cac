# MobileNetV2 on ImageNet, 8 GPUs x 32 images, with MixSKD. Not an experiment of the paper: no accuracy has been measured.
_base_ = 'baseline_mobilenet-v2_imagenet.py'

model = dict(type='MixSKDClassifier')
data_preprocessor = dict(type='MixupDataPreprocessor', alpha=0.2)
