# WRN-28-10 (network 0) and MobileNet (1) on CIFAR-100, 1 GPU x 128 images, with DCM; WRN-28-10's settings (supplement 1.1).
_base_ = 'dcm_wrn28-10_cifar100.py'

model = dict(peer=dict(backbone=dict(type='MobileNet_CIFAR'), head=dict(in_channels=1024)))
