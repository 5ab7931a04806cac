# What makes a training step fast on a GPU and changes no result beyond bfloat16's rounding; docs/performance.md says which
# setting gives what. mmengine refuses the same key in two bases, so what the recipes have too stands in `fast`:
#
#     _base_ = ['../configs/mixskd_r50_imagenet.py', '../configs/_base_/fast.py']
#     optim_wrapper = _base_.fast.optim_wrapper
#     default_hooks = _base_.fast.default_hooks
#     env_cfg = _base_.fast.env_cfg

# Fuses what lies between the convolutions. Not dynamic=False: each new learning rate would be compiled.
compile = dict(backend='inductor')

# Several processes.
model_wrapper_cfg = dict(
    type='MMDistributedDataParallel',
    # Each process keeps its own BN statistics, as without this file.
    broadcast_buffers=False,
    # Gradients are views of the buckets that are reduced, not copied from there.
    gradient_as_bucket_view=True,
)

fast = dict(
    optim_wrapper=dict(
        # bfloat16 has float32's range: nothing to scale, and no look at the gradients before each step.
        type='AmpOptimWrapper',
        dtype='bfloat16',
        loss_scale=dict(enabled=False),
        # One operation for all parameters. Any other would be compiled for each new learning rate.
        optimizer=dict(fused=True),
    ),
    # The memory format that convolutions on tensor cores want.
    default_hooks=dict(channels_last=dict(type='ChannelsLastHook')),
    # Tries cuDNN's algorithms once for each shape of images.
    env_cfg=dict(cudnn_benchmark=True),
)
