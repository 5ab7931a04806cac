# Images of one's own, in a folder for each class: own_data lets data_root complete the config (docs/own_data.md).
_base_ = 'imagenet.py'

data_root = None  # --cfg-options data_root=/my/images
own_data = dict(
    kind='folders',
    val_fraction=0.2,  # of each class, unless there are train/ and val/
    images=5994,  # CUB-200-2011's: fewer are trained on for more epochs
    length=205,
    validations=41,
)
dataset = dict(_delete_=True, type='ClassFolders', data_root=data_root)

train_dataloader = dict(batch_size=32, dataset=dict(pipeline={{_base_.train_pipeline}}, **dataset))
val_dataloader = dict(batch_size=32, dataset=dict(pipeline={{_base_.test_pipeline}}, **dataset))
test_dataloader = val_dataloader
