# ResNet-18 on CIFAR-100, 1 GPU x 128 images, with MixSKD on CutMix images (future work in section 2 of the paper).
_base_ = 'mixskd_r18_cifar100.py'

data_preprocessor = dict(alpha=None, mixture=dict(type='CutMix', alpha=1.0))
