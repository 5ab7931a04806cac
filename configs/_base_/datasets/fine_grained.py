# MixSKD, appendix B.1: the fine-grained data sets have ImageNet's pipelines, and here its statistics and loaders too.
_base_ = 'imagenet.py'

train_dataloader = dict(batch_size=32)
val_dataloader = dict(batch_size=32)
test_dataloader = val_dataloader
