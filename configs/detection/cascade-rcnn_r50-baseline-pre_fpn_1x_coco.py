# Cascade R-CNN from the plain ResNet-50, 1x schedule (12 epochs), 8 GPUs x 2 images.
_base_ = 'cascade-rcnn_r50-mixskd-pre_fpn_1x_coco.py'

model = dict(backbone=dict(init_cfg=dict(checkpoint='work_dirs/baseline_r50_imagenet/epoch_305.pth')))
