# ResNet-50 on images of one's own, 1 GPU x 32 images, with Mixup: --cfg-options data_root=/my/images
_base_ = 'baseline_r50_folder.py'

data_preprocessor = dict(type='MixupDataPreprocessor', alpha=0.2)
