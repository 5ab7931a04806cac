# ResNet-18 from scratch on Stanford Cars, 1 GPU x 32 images, with MixSKD (Table 2, "MixSKD", Cars).
_base_ = 'baseline_r18_cars.py'

model = dict(type='MixSKDClassifier')
data_preprocessor = dict(type='MixupDataPreprocessor', alpha=0.4)
