# Cascade R-CNN on boxes of one's own, from a MixSKD ResNet-50, 1 GPU x 4 images: --cfg-options data_root=/my/boxes
_base_ = 'cascade-rcnn_r50-mixskd-pre_fpn_1x_coco.py'

data_root = None
own_data = dict(kind='boxes', images=5000, length=12, validations=12)
train_cfg = dict(max_epochs=None, val_interval=None)
train_dataloader = dict(batch_size=4)
# 0.02 of 16 images.
optim_wrapper = dict(optimizer=dict(lr=0.005))
auto_scale_lr = dict(base_batch_size=4)
