# ResNet-18 from scratch on MIT Indoor 67, 1 GPU x 32 images, with Mixup (Table 2, "Mixup", MIT67).
_base_ = 'baseline_r18_mit67.py'

data_preprocessor = dict(type='MixupDataPreprocessor', alpha=0.4)
