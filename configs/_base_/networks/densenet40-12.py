# In the place of the ResNet-18 of a CIFAR config: list this file in `_base_` too, and set `model = _base_.network`.
network = dict(
    backbone=dict(_delete_=True, type='DenseNet_CIFAR', depth=40, growth_rate=12),
    head=dict(in_channels=448),
)
