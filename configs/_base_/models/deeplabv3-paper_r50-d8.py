# DeepLabV3 as in the code that the paper's segmentation results were made with (CIRKD).
_base_ = 'deeplabv3_r50-d8.py'

model = dict(
    # BGR minus Caffe's mean, not divided: not what the backbone was pretrained with, but what the paper reports.
    data_preprocessor=dict(
        mean=[104.00698793, 116.66876762, 122.67891434],
        std=[1.0, 1.0, 1.0],
        bgr_to_rgb=False,
    ),
    decode_head=dict(
        type='ProjectedASPPHead',
        channels=256,
        project_dropout_ratio=0.5,
        dropout_ratio=0.1,
        align_corners=True,
        loss_decode=dict(avg_non_ignore=True),
    ),
    auxiliary_head=dict(
        type='ElementDropoutFCNHead',
        align_corners=True,
        loss_decode=dict(avg_non_ignore=True),
    ),
)
