# The same with KD on natural images, as released ("Eq. 8" of the authors' README: gamma = 1.8, a = 0.2).
_base_ = 'supermix_wrn16-2_cifar100-600e.py'

model = dict(ce_weight=1.8, mixed_weight=1.8, kd_weight=0.2, kd_on='natural', temperature=4.0)
