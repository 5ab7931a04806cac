# WRN-28-10 (network 0) and ResNet-110 (1) on CIFAR-100, 1 GPU x 128 images, with DCM; WRN-28-10's settings (supplement 1.1).
_base_ = 'dcm_wrn28-10_cifar100.py'

model = dict(peer=dict(backbone=dict(type='ThinResNet_CIFAR', depth=110), head=dict(in_channels=64)))
