# ResNet-18 on CIFAR-100, 1 GPU x 128 images, with Manifold Mixup (Table 1, "Manifold Mixup").
_base_ = 'baseline_r18_cifar100.py'

model = dict(type='ManifoldMixupClassifier')
data_preprocessor = dict(type='MixupDataPreprocessor', alpha=2.0)
