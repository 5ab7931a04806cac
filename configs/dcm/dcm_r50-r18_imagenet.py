# ResNet-50 (network 0) and ResNet-18 (1) on ImageNet, 8 GPUs x 32 images, with DCM (supplement 1.2).
_base_ = 'dcm_r50_imagenet.py'

model = dict(peer=dict(backbone=dict(type='ResNet', depth=18, zero_init_residual=False), head=dict(in_channels=512)))
