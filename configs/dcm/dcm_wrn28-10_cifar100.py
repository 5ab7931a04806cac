# Two WRN-28-10 on CIFAR-100, 1 GPU x 128 images, with DCM (supplement 1.1).
_base_ = ['../_base_/dcm_cifar100.py', '../_base_/networks/wrn28-10.py', '../_base_/schedules/dcm_wrn_200e.py']

model = _base_.network
