# FGVC-Aircraft: 6,667 images to train, 3,333 to test, 100 variants.
_base_ = 'fine_grained.py'

dataset_type = 'FGVCAircraft'
data_root = 'data/fgvc-aircraft-2013b'
data_preprocessor = dict(num_classes=100)
iters_per_epoch = 209  # 6,667 images in batches of 32

train_dataloader = dict(dataset=dict(type=dataset_type, data_root=data_root, split='trainval'))
val_dataloader = dict(dataset=dict(type=dataset_type, data_root=data_root, split='test'))
test_dataloader = val_dataloader
