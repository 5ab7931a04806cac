# ResNet-50 on ImageNet, 8 GPUs x 32 images, with MixSKD on CutMix images (future work in section 2 of the paper).
_base_ = 'mixskd_r50_imagenet.py'

data_preprocessor = dict(alpha=None, mixture=dict(type='CutMix', alpha=1.0))
