_base_ = 'mmpretrain::_base_/models/resnet50.py'

# The paper's ResNet-50 does not start its residual branches at zero; mmpretrain's does by default.
model = dict(backbone=dict(zero_init_residual=False))
