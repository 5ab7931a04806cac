_base_ = 'mmpretrain::_base_/models/resnet18.py'

# From scratch, and the paper's ResNet-18 does not start its residual branches at zero; mmpretrain's does by default.
model = dict(backbone=dict(zero_init_residual=False))
