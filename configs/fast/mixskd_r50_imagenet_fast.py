# configs/mixskd_r50_imagenet.py with the fast settings for GPUs: bfloat16, channels_last, compiled.
_base_ = ['../mixskd_r50_imagenet.py', '../_base_/fast.py']

optim_wrapper = _base_.fast.optim_wrapper
default_hooks = _base_.fast.default_hooks
env_cfg = _base_.fast.env_cfg
