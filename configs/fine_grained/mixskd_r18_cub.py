# ResNet-18 from scratch on CUB-200-2011, 1 GPU x 32 images, with MixSKD (Table 2, "MixSKD", CUB200).
_base_ = 'baseline_r18_cub.py'

model = dict(type='MixSKDClassifier')
data_preprocessor = dict(type='MixupDataPreprocessor', alpha=0.4)
