# ResNet-18 from scratch on FGVC-Aircraft, 1 GPU x 32 images, with MixSKD (Table 2, "MixSKD", Air).
_base_ = 'baseline_r18_aircraft.py'

model = dict(type='MixSKDClassifier')
data_preprocessor = dict(type='MixupDataPreprocessor', alpha=0.4)
