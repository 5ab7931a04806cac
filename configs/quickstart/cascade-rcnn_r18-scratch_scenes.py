# A small Cascade R-CNN on the quickstart's scenes, from random weights.
_base_ = [
    'mmdet::_base_/models/cascade-rcnn_r50_fpn.py',
    'mmdet::_base_/default_runtime.py',
    '../_base_/downstream_runtime.py',
]

# Three cascade stages as usual, at the size of the scenes.
bbox_heads = [
    dict(
        type='Shared2FCBBoxHead',
        in_channels=32,
        fc_out_channels=128,
        roi_feat_size=7,
        num_classes=10,
        reg_class_agnostic=True,
        bbox_coder=dict(type='DeltaXYWHBBoxCoder', target_means=[0.0] * 4, target_stds=[std, std, 2 * std, 2 * std]),
        loss_cls=dict(type='CrossEntropyLoss', use_sigmoid=False, loss_weight=1.0),
        loss_bbox=dict(type='SmoothL1Loss', beta=1.0, loss_weight=1.0),
    )
    for std in (0.1, 0.05, 0.033)
]
rcnn_train = [
    dict(
        assigner=dict(
            type='MaxIoUAssigner',
            pos_iou_thr=iou,
            neg_iou_thr=iou,
            min_pos_iou=iou,
            match_low_quality=False,
            ignore_iof_thr=-1,
        ),
        sampler=dict(type='RandomSampler', num=32, pos_fraction=0.25, neg_pos_ub=-1, add_gt_as_proposals=True),
        pos_weight=-1,
        debug=False,
    )
    for iou in (0.5, 0.6, 0.7)
]
model = dict(
    # As the digits were normalised in pretraining.
    data_preprocessor=dict(mean=[128.0] * 3, std=[128.0] * 3),
    backbone=dict(
        _delete_=True,
        type='mmpretrain.ResNet_CIFAR',
        depth=18,
        stem_channels=16,
        base_channels=16,
        out_indices=(2, 3),
        zero_init_residual=False,
    ),
    neck=dict(in_channels=[64, 128], out_channels=32, num_outs=2),
    rpn_head=dict(in_channels=32, feat_channels=32, anchor_generator=dict(scales=[4], strides=[4, 8])),
    roi_head=dict(
        bbox_roi_extractor=dict(out_channels=32, featmap_strides=[4, 8], finest_scale=16),
        bbox_head=bbox_heads,
    ),
    train_cfg=dict(rpn=dict(sampler=dict(num=64)), rpn_proposal=dict(nms_pre=200, max_per_img=64), rcnn=rcnn_train),
    test_cfg=dict(rpn=dict(nms_pre=200, max_per_img=64), rcnn=dict(max_per_img=20)),
)

dataset = dict(
    type='CocoDataset',
    data_root='work_dirs/quickstart/scenes',
    metainfo=dict(classes=tuple('0123456789')),
)
train_dataloader = dict(
    batch_size=8,
    num_workers=0,
    sampler=dict(type='DefaultSampler', shuffle=True),
    batch_sampler=dict(type='AspectRatioBatchSampler'),
    dataset=dict(
        ann_file='train.json',
        data_prefix=dict(img='train'),
        pipeline=[
            dict(type='LoadImageFromFile'),
            dict(type='LoadAnnotations', with_bbox=True),
            dict(type='PackDetInputs'),
        ],
        **dataset,
    ),
)
val_dataloader = dict(
    batch_size=8,
    num_workers=0,
    sampler=dict(type='DefaultSampler', shuffle=False),
    dataset=dict(
        ann_file='test.json',
        data_prefix=dict(img='test'),
        test_mode=True,
        pipeline=[
            dict(type='LoadImageFromFile'),
            dict(type='Resize', scale=(64, 64)),
            dict(type='LoadAnnotations', with_bbox=True),
            dict(type='PackDetInputs', meta_keys=('img_id', 'img_path', 'ori_shape', 'img_shape', 'scale_factor')),
        ],
        **dataset,
    ),
)
test_dataloader = val_dataloader
val_evaluator = dict(type='CocoMetric', ann_file='work_dirs/quickstart/scenes/test.json', metric='bbox')
test_evaluator = val_evaluator

optim_wrapper = dict(
    optimizer=dict(type='SGD', lr=0.04, momentum=0.9, weight_decay=1e-4),
    clip_grad=dict(max_norm=10.0),
)
param_scheduler = [
    dict(type='LinearLR', start_factor=0.01, by_epoch=False, begin=0, end=20),
    dict(type='MultiStepLR', milestones=[12, 15], gamma=0.1),
]
train_cfg = dict(type='MidEpochTrainLoop', max_epochs=16, val_interval=16)
val_cfg = dict(type='ValLoop')
test_cfg = dict(type='TestLoop')
auto_scale_lr = dict(base_batch_size=8)

default_hooks = dict(
    logger=dict(interval=12),
    checkpoint=dict(type='LateRemovalCheckpointHook', interval=16),
    **_base_.downstream_hooks,
)
