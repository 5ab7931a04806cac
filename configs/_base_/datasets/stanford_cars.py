# Stanford Cars: 8,144 images to train, 8,041 to test, 196 models.
_base_ = 'fine_grained.py'

dataset_type = 'StanfordCars'
data_root = 'data/stanford_cars'
data_preprocessor = dict(num_classes=196)
iters_per_epoch = 255  # 8,144 images in batches of 32

train_dataloader = dict(dataset=dict(type=dataset_type, data_root=data_root, split='train'))
val_dataloader = dict(dataset=dict(type=dataset_type, data_root=data_root, split='test'))
test_dataloader = val_dataloader
