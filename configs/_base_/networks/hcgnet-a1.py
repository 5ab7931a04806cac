# HCGNet-A1, in the place of the ResNet-18 of a CIFAR config: list this file in `_base_` too, and set
# `model = _base_.network`.
network = dict(
    backbone=dict(_delete_=True, type='HCGNet_CIFAR', growth_rates=(12, 24, 36), num_units=8),
    head=dict(in_channels=414),
)
