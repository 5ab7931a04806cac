# The same from the quickstart's MixSKD checkpoint, as it was saved in training.
_base_ = 'deeplabv3_r18-scratch_scenes.py'

model = dict(
    backbone=dict(
        init_cfg=dict(
            type='Pretrained', checkpoint='work_dirs/quickstart/mixskd/seed0/epoch_60.pth', prefix='backbone.'
        )
    )
)
