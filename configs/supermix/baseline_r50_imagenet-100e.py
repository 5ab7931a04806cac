# ResNet-50 on ImageNet, 8 GPUs x 32 images, 100 epochs (SuperMix, supplement 1.3).
_base_ = [
    '../_base_/models/resnet50.py',
    '../_base_/datasets/imagenet.py',
    '../_base_/schedules/supermix_imagenet_100e.py',
    '../_base_/runtime.py',
]
