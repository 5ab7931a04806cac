# The same with KD on mixed images: lambda_KD = 0.9 and tau = 4 of the supplement.
_base_ = 'supermix_r18_imagenet-100e.py'

model = dict(ce_weight=0.1, mixed_weight=0.0, kd_weight=0.9, kd_on='mixed', temperature=4.0)
