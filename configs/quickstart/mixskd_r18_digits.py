# The same with MixSKD.
_base_ = 'baseline_r18_digits.py'

model = dict(type='MixSKDClassifier')
data_preprocessor = dict(type='MixupDataPreprocessor', alpha=0.4)
