# ResNet-18 on CIFAR-100, 1 GPU x 128 images, with Tf-KD_self: taught by the result of baseline_r18_cifar100.py.
_base_ = 'baseline_r18_cifar100.py'

model = dict(
    type='TfKDClassifier',
    teacher_checkpoint='work_dirs/baseline_r18_cifar100/epoch_205.pth',
    multiplier=50,
)
