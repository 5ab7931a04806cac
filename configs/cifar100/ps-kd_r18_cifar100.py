# ResNet-18 on CIFAR-100, 1 GPU x 128 images, with PS-KD.
_base_ = 'baseline_r18_cifar100.py'

model = dict(type='PSKDClassifier', num_samples=50_000)
