# Two DenseNet-40-12 on CIFAR-100, 1 GPU x 64 images, with DCM (supplement 1.1).
_base_ = [
    '../_base_/dcm_cifar100.py',
    '../_base_/networks/densenet40-12.py',
    '../_base_/schedules/dcm_densenet_300e.py',
]

model = _base_.network
train_dataloader = dict(batch_size=64)
