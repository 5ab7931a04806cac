# ResNet-50 on ImageNet, 8 GPUs x 32 images, plain cross-entropy (MixSKD, Table 3, "ResNet-50").
_base_ = [
    '_base_/models/resnet50.py',
    '_base_/datasets/imagenet.py',
    '_base_/schedules/imagenet_305e.py',
    '_base_/runtime.py',
]
