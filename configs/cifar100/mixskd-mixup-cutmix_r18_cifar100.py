# ResNet-18 on CIFAR-100, 1 GPU x 128 images, with MixSKD on images that Mixup or CutMix mixed, one of them per batch.
_base_ = 'mixskd_r18_cifar100.py'

mixture = [dict(type='Mixup', alpha=0.4, prob=0.5), dict(type='CutMix', alpha=1.0, prob=0.5)]
data_preprocessor = dict(alpha=None, mixture=mixture)
