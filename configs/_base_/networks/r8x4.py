# ResNet-8x4, in the place of the ResNet-18 of a CIFAR config: list this file in `_base_` too, and set
# `model = _base_.network`.
network = dict(
    backbone=dict(_delete_=True, type='ThinResNet_CIFAR', depth=8, stem_channels=32, base_channels=64),
    head=dict(in_channels=256),
)
