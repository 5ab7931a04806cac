# Two ResNet-50 on ImageNet, 8 GPUs x 32 images, with DCM (supplement 1.2).
_base_ = ['../_base_/models/resnet50.py', '../_base_/dcm_imagenet.py', '../_base_/schedules/dcm_imagenet_100e.py']

model = dict(type='DCMClassifier', test_network='mean')
