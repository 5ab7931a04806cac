"""Networks small enough to test a method with, and the method's classifier around one."""

import torch
from mmpretrain.registry import MODELS

import mixskd_mm  # noqa: F401  (registers everything)

RESNET = dict(type='ResNet_CIFAR', depth=18, stem_channels=8, base_channels=8, zero_init_residual=False)
NETWORKS = {
    'ResNet': RESNET,
    'WRN': dict(type='WideResNet_CIFAR', depth=10, widen_factor=1),
    'DenseNet': dict(type='DenseNet_CIFAR', depth=7, growth_rate=4),
}


def config(method: str, backbone: dict = RESNET, num_classes: int = 10, **kwargs) -> dict:
    """Of the classifier ``method``; other arguments are its own."""
    feat_dim = MODELS.build(dict(backbone)).feat_dim
    head = dict(type='LinearClsHead', num_classes=num_classes, in_channels=feat_dim)
    return dict(type=method, backbone=dict(backbone), neck=dict(type='GlobalAveragePooling'), head=head, **kwargs)


def build(method: str, *args, seed: int = 0, **kwargs):
    """The classifier of :func:`config` in training mode. Affine parameters and biases are random, as ``seed`` says."""
    torch.manual_seed(seed)
    model = MODELS.build(config(method, *args, **kwargs))
    model.init_weights()
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.ndim == 1 and parameter.requires_grad:
                parameter.add_(0.1 * torch.randn_like(parameter))
    return model.train()


def logits(model, images):
    """z of a classifier or teacher, by its parts."""
    return model.head.fc(model.backbone(images)[-1].mean((2, 3)))


def gradients(loss, module):
    return torch.autograd.grad(loss, list(module.parameters()), retain_graph=True, allow_unused=True)
