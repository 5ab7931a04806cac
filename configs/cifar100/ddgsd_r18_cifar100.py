# ResNet-18 on CIFAR-100, 1 GPU x 128 images in two views each, with DDGSD (Table 1, "DDGSD").
_base_ = 'baseline_r18_cifar100.py'

model = dict(type='DDGSDClassifier')
*augment, pack = _base_.train_pipeline
two_views = [dict(type='MultiView', num_views=2, transforms=[augment]), pack]
train_dataloader = dict(dataset=dict(pipeline=two_views), collate_fn=dict(type='collate_two_views'))
