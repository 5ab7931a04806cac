# Two MobileNetV2 on ImageNet, 8 GPUs x 32 images, with DCM (supplement 1.2).
_base_ = [
    'mmpretrain::_base_/models/mobilenet_v2_1x.py',
    '../_base_/dcm_imagenet.py',
    '../_base_/schedules/dcm_mobilenetv2_150e.py',
]

model = dict(type='DCMClassifier', backbone=dict(type='StagedMobileNetV2'), test_network='mean')
