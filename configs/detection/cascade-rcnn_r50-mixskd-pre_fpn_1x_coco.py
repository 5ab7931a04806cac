# Cascade R-CNN from the MixSKD ResNet-50, 1x schedule (12 epochs), 8 GPUs x 2 images.
_base_ = ['mmdet::cascade_rcnn/cascade-rcnn_r50_fpn_1x_coco.py', '../_base_/downstream_runtime.py']

model = dict(
    backbone=dict(
        init_cfg=dict(
            type='Pretrained',
            # A training checkpoint, as it is.
            checkpoint='work_dirs/mixskd_r50_imagenet/epoch_305.pth',
            prefix='backbone.',
        )
    )
)
default_hooks = dict(checkpoint=dict(type='LateRemovalCheckpointHook', max_keep_ckpts=2), **_base_.downstream_hooks)
train_cfg = dict(type='MidEpochTrainLoop')
# Workers anew in each epoch, so that a resumed run augments as the uninterrupted one.
train_dataloader = dict(persistent_workers=False, worker_init_fn=dict(type='keep_loader_seed'))
