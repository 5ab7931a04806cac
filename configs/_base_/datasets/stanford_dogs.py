# Stanford Dogs: 12,000 images to train, 8,580 to test, 120 breeds.
_base_ = 'fine_grained.py'

dataset_type = 'StanfordDogs'
data_root = 'data/stanford_dogs'
data_preprocessor = dict(num_classes=120)
iters_per_epoch = 375  # 12,000 images in batches of 32

train_dataloader = dict(dataset=dict(type=dataset_type, data_root=data_root, split='train'))
val_dataloader = dict(dataset=dict(type=dataset_type, data_root=data_root, split='test'))
test_dataloader = val_dataloader
