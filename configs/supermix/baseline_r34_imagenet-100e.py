# ResNet-34 on ImageNet, 8 GPUs x 32 images, 100 epochs (SuperMix, supplement 1.3).
_base_ = 'baseline_r18_imagenet-100e.py'

model = dict(backbone=dict(depth=34))
