# ResNet-18 from scratch on FGVC-Aircraft, 1 GPU x 32 images, with Mixup (Table 2, "Mixup", Air).
_base_ = 'baseline_r18_aircraft.py'

data_preprocessor = dict(type='MixupDataPreprocessor', alpha=0.4)
