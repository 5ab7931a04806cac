# WRN-40-2, in the place of the ResNet-18 of a CIFAR config: list this file in `_base_` too, and set
# `model = _base_.network`.
network = dict(
    backbone=dict(_delete_=True, type='WideResNet_CIFAR', depth=40, widen_factor=2),
    head=dict(in_channels=128),
)
