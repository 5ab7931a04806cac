# ResNet-18 from scratch on MIT Indoor 67, 1 GPU x 32 images, with MixSKD (Table 2, "MixSKD", MIT67).
_base_ = 'baseline_r18_mit67.py'

model = dict(type='MixSKDClassifier')
data_preprocessor = dict(type='MixupDataPreprocessor', alpha=0.4)
