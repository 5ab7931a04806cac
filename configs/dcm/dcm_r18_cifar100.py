# Two ResNet-18 on CIFAR-100, 1 GPU x 128 images, with DCM; all else is as for the methods of MixSKD's Table 1.
_base_ = '../cifar100/baseline_r18_cifar100.py'

model = dict(type='DCMClassifier', test_network='mean')
val_evaluator = dict(type='PairAccuracy')
test_evaluator = dict(type='PairAccuracy')
