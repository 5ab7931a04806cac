# ShuffleNetV1, in the place of the ResNet-18 of a CIFAR config: list this file in `_base_` too, and set
# `model = _base_.network`.
network = dict(
    backbone=dict(_delete_=True, type='ShuffleNetV1_CIFAR'),
    head=dict(in_channels=960),
)
