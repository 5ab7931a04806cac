# ResNet-50 on images of one's own, 1 GPU x 32 images, plain cross-entropy: --cfg-options data_root=/my/images
_base_ = [
    '_base_/models/resnet50.py',
    '_base_/datasets/folder.py',
    '_base_/schedules/folder.py',
    '_base_/runtime.py',
]

param_scheduler = [dict(start_factor=0.001, **_base_.warm_up), _base_.decay]
# load_from: weights of other classes, whose head starts anew.
default_hooks = dict(checkpoint=dict(interval=5), checkpoint_keys=dict(new_head=True))
