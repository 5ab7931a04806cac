# MobileNetV2 on ImageNet, 8 GPUs x 32 images, plain cross-entropy, as mmpretrain trains it (mobilenet-v2_8xb32_in1k).
_base_ = [
    'mmpretrain::_base_/models/mobilenet_v2_1x.py',
    '_base_/datasets/imagenet_pil.py',
    'mmpretrain::_base_/schedules/imagenet_bs256_epochstep.py',
    '_base_/runtime.py',
]
