# CUB-200-2011: 5,994 images to train, 5,794 to test, 200 species of birds.
_base_ = 'fine_grained.py'

dataset_type = 'CUB'
data_root = 'data/CUB_200_2011'
data_preprocessor = dict(num_classes=200)
iters_per_epoch = 188  # 5,994 images in batches of 32

train_dataloader = dict(dataset=dict(type=dataset_type, data_root=data_root, split='train'))
val_dataloader = dict(dataset=dict(type=dataset_type, data_root=data_root, split='test'))
test_dataloader = val_dataloader
