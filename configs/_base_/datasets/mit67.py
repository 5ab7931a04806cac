# MIT Indoor 67: 5,360 images to train, 1,340 to test, 67 scenes.
_base_ = 'fine_grained.py'

dataset_type = 'MITIndoor67'
data_root = 'data/mit67'
data_preprocessor = dict(num_classes=67)
iters_per_epoch = 168  # 5,360 images in batches of 32

train_dataloader = dict(dataset=dict(type=dataset_type, data_root=data_root, split='train'))
val_dataloader = dict(dataset=dict(type=dataset_type, data_root=data_root, split='test'))
test_dataloader = val_dataloader
