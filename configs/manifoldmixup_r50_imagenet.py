# ResNet-50 on ImageNet, 8 GPUs x 32 images, with Manifold Mixup (MixSKD, Table 3, "+Manifold Mixup"). The paper does not
# say its alpha; this is Mixup's for ImageNet.
_base_ = 'baseline_r50_imagenet.py'

model = dict(type='ManifoldMixupClassifier')
data_preprocessor = dict(type='MixupDataPreprocessor', alpha=0.2)
