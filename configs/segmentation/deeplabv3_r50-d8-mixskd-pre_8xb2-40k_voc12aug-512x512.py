# DeepLabV3 as in mmseg's zoo, from the MixSKD ResNet-50: Pascal VOC 2012 (aug), 8 GPUs x 2 images.
_base_ = [
    '../_base_/models/deeplabv3_r50-d8.py',
    '../_base_/datasets/voc12aug.py',
    '../_base_/schedules/segmentation_40k.py',
    '../_base_/segmentation_runtime.py',
]

model = dict(
    backbone=dict(
        init_cfg=dict(
            type='Pretrained',
            # A training checkpoint, as it is.
            checkpoint='work_dirs/mixskd_r50_imagenet/epoch_305.pth',
            prefix='backbone.',
        )
    ),
    decode_head=dict(num_classes=21),
    auxiliary_head=dict(num_classes=21),
)
