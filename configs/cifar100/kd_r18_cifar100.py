# ResNet-18 on CIFAR-100, 1 GPU x 128 images, taught by the ResNet-18 of baseline_r18_cifar100.py, which is trained before.
_base_ = 'baseline_r18_cifar100.py'

model = dict(
    type='KDClassifier',
    teacher=_base_.model,
    teacher_checkpoint='work_dirs/baseline_r18_cifar100/epoch_205.pth',
)
