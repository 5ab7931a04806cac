# ResNet-18 from scratch on Stanford Dogs, 1 GPU x 32 images, with MixSKD (Table 2, "MixSKD", Dogs).
_base_ = 'baseline_r18_dogs.py'

model = dict(type='MixSKDClassifier')
data_preprocessor = dict(type='MixupDataPreprocessor', alpha=0.4)
