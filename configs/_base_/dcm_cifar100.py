# Two networks on CIFAR-100 with DCM; `model = _base_.network` of a file in networks/ says which.
_base_ = ['models/resnet18_cifar.py', 'datasets/cifar100_dcm.py', 'runtime.py']

# In tests accuracy/top1 is that of both networks together; top1_network0 and top1_network1 are what DCM's tables have.
model = dict(type='DCMClassifier', test_network='mean')
val_evaluator = dict(type='PairAccuracy')
test_evaluator = dict(type='PairAccuracy')

default_hooks = dict(checkpoint=dict(interval=5))
