# supermix-kd-release with the two weights swapped: so they have the ratio of the supplement's lambda_KD = 0.9, and the
# README's may be a slip.
_base_ = 'supermix_wrn16-2_cifar100-600e.py'

model = dict(ce_weight=0.2, mixed_weight=0.2, kd_weight=1.8, kd_on='natural', temperature=4.0)
