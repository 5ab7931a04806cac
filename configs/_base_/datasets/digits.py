# Handwritten digits of scikit-learn as 16 x 16 images, written by tools/quickstart/make_digits.py.
dataset_type = 'CustomDataset'
data_root = 'work_dirs/quickstart/digits'
data_preprocessor = dict(num_classes=10, mean=[128.0] * 3, std=[128.0] * 3, to_rgb=True)

train_dataloader = dict(
    batch_size=50,
    # Reading such images takes less time than starting workers.
    num_workers=0,
    persistent_workers=False,
    worker_init_fn=dict(type='keep_loader_seed'),
    dataset=dict(
        type=dataset_type,
        data_root=data_root,
        data_prefix='train',
        with_label=True,
        pipeline=[
            dict(type='LoadImageFromFile'),
            dict(type='RandomCrop', crop_size=16, padding=2),
            dict(type='PackInputs'),
        ],
    ),
    sampler=dict(type='DefaultSampler', shuffle=True),
    collate_fn=dict(type='default_collate'),
)
val_dataloader = dict(
    batch_size=200,
    num_workers=0,
    persistent_workers=False,
    dataset=dict(
        type=dataset_type,
        data_root=data_root,
        data_prefix='test',
        with_label=True,
        pipeline=[dict(type='LoadImageFromFile'), dict(type='PackInputs')],
    ),
    sampler=dict(type='DefaultSampler', shuffle=False),
    collate_fn=dict(type='default_collate'),
)
val_evaluator = dict(type='Accuracy', topk=(1,))
test_dataloader = val_dataloader
test_evaluator = val_evaluator
