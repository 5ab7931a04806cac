# ConvNeXt-T on ImageNet, 32 GPUs x 128 images, with MixSKD on the mixtures that ConvNeXt is trained with. Not an experiment
# of the paper: no accuracy has been measured.
_base_ = 'baseline_convnext-tiny_imagenet.py'

model = dict(type='MixSKDClassifier')
data_preprocessor = dict(
    type='MixupDataPreprocessor',
    mixture=[dict(type='Mixup', alpha=0.8, prob=0.5), dict(type='CutMix', alpha=1.0, prob=0.5)],
)
