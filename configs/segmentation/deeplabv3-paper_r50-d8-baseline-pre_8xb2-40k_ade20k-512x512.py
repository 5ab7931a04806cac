# DeepLabV3 as the paper's code has it, from the plain ResNet-50: ADE20K, 8 GPUs x 2 images.
_base_ = 'deeplabv3-paper_r50-d8-mixskd-pre_8xb2-40k_ade20k-512x512.py'

model = dict(backbone=dict(init_cfg=dict(checkpoint='work_dirs/baseline_r50_imagenet/epoch_305.pth')))
