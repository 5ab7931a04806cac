# DeepLabV3 on masks of one's own, from a MixSKD ResNet-50, 1 GPU x 8 images: --cfg-options data_root=/my/masks
_base_ = 'deeplabv3_r50-d8-mixskd-pre_8xb2-40k_ade20k-512x512.py'

data_root = None
own_data = dict(kind='masks', val_fraction=0.2, images=10582, length=40000, validations=10)  # Pascal VOC's
dataset = dict(_delete_=True, type='MaskFolders', data_root=data_root)
train_cfg = dict(max_iters=None, val_interval=None)
train_dataloader = dict(batch_size=8, dataset=dict(pipeline={{_base_.train_pipeline}}, **dataset))
val_dataloader = dict(dataset=dict(pipeline={{_base_.test_pipeline}}, **dataset))
test_dataloader = val_dataloader
# 0.02 of 16 images.
optim_wrapper = dict(optimizer=dict(lr=0.01))
auto_scale_lr = dict(base_batch_size=8)
