# Shake-Shake-26 2x96d, in the place of the ResNet-18 of a CIFAR config: list this file in `_base_` too, and set
# `model = _base_.network`.
network = dict(
    backbone=dict(_delete_=True, type='ShakeShake_CIFAR', depth=26, base_channels=96),
    head=dict(in_channels=384),
)
