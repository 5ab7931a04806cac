# Two networks on ImageNet with DCM; the config of a pair has the model.
_base_ = ['datasets/imagenet.py', 'runtime.py']

# In tests accuracy/top1 is that of both networks together; top1_network0 and top1_network1 are what DCM's tables have.
val_evaluator = dict(type='PairAccuracy')
test_evaluator = dict(type='PairAccuracy')
