# ResNet-18 from scratch on Stanford Cars, 1 GPU x 32 images, with Mixup (Table 2, "Mixup", Cars).
_base_ = 'baseline_r18_cars.py'

data_preprocessor = dict(type='MixupDataPreprocessor', alpha=0.4)
