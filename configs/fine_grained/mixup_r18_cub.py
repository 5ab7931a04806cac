# ResNet-18 from scratch on CUB-200-2011, 1 GPU x 32 images, with Mixup (Table 2, "Mixup", CUB200).
_base_ = 'baseline_r18_cub.py'

data_preprocessor = dict(type='MixupDataPreprocessor', alpha=0.4)
