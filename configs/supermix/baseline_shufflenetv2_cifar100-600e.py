# ShuffleNetV2 on CIFAR-100, 1 GPU x 128 images, 600 epochs (SuperMix, supplement 1.1).
_base_ = ['../_base_/supermix_cifar100.py', '../_base_/networks/shufflenetv2.py']

model = _base_.network
# A fifth, as in the authors' code; the supplement has 0.1 for all networks.
optim_wrapper = dict(optimizer=dict(lr=0.02))
