# ResNet-18 from scratch on Stanford Dogs, 1 GPU x 32 images, with Mixup (Table 2, "Mixup", Dogs).
_base_ = 'baseline_r18_dogs.py'

data_preprocessor = dict(type='MixupDataPreprocessor', alpha=0.4)
