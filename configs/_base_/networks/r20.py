# ResNet-20, in the place of the ResNet-18 of a CIFAR config: list this file in `_base_` too, and set
# `model = _base_.network`.
network = dict(
    backbone=dict(_delete_=True, type='ThinResNet_CIFAR', depth=20),
    head=dict(in_channels=64),
)
