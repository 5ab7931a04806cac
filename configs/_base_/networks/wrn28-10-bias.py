# WRN-28-10 with biases, in the place of the ResNet-18 of a CIFAR config: list this file in `_base_` too, and set
# `model = _base_.network`.
network = dict(
    backbone=dict(_delete_=True, type='WideResNet_CIFAR', depth=28, widen_factor=10, conv_bias=True),
    head=dict(in_channels=640),
)
