# The same with KD: lambda_KD = 0.9 and tau = 4 of the supplement, on mixed images, as the authors' code had it in January
# 2020 with the same ratio of the weights, 0.2 and 1.8.
_base_ = 'supermix_wrn16-2_cifar100-600e.py'

model = dict(ce_weight=0.1, mixed_weight=0.0, kd_weight=0.9, kd_on='mixed', temperature=4.0)
