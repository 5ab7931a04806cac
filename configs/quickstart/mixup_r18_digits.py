# The same with Mixup.
_base_ = 'baseline_r18_digits.py'

data_preprocessor = dict(type='MixupDataPreprocessor', alpha=0.4)
