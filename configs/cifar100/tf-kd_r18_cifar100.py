# ResNet-18 on CIFAR-100, 1 GPU x 128 images, with Tf-KD_reg (Table 1, "Tf-KD").
_base_ = 'baseline_r18_cifar100.py'

# As the authors' code on CIFAR-100: tempered, at T = 20, the term has no more than 1/1000 of the gradient.
model = dict(type='TfKDClassifier', kd_loss=dict(temper_student=False))
