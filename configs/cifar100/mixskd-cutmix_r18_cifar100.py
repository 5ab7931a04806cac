# ResNet-18 on CIFAR-100, 1 GPU x 128 images, with MixSKD on images that CutMix mixed (the paper's outlook, section 5).
_base_ = 'mixskd_r18_cifar100.py'

data_preprocessor = dict(alpha=None, mixture=dict(type='CutMix', alpha=1.0))
