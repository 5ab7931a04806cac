"""Classifiers of every method with networks of a few channels, and what their tests compare."""

from __future__ import annotations

import torch
from mmpretrain.registry import MODELS
from torch import Tensor, nn

import mixskd_mm  # noqa: F401  (registers everything)

# Residual branches are not initialised with zero: that would hide gradients.
RESNET = dict(type='ResNet_CIFAR', depth=18, stem_channels=8, base_channels=8, zero_init_residual=False)
NETWORKS = {
    'ResNet-18': RESNET,
    'WRN': dict(type='WideResNet_CIFAR', depth=16, widen_factor=1),
    'DenseNet': dict(type='DenseNet_CIFAR', depth=7, growth_rate=4),
    'HCGNet': dict(type='HCGNet_CIFAR', growth_rates=(4, 8, 12), num_units=1),
    # Those for images of 224 px.
    'ResNet-18 at 224': dict(RESNET, type='ResNet'),
    'ResNet-50 at 224': dict(RESNET, type='ResNet', depth=50, base_channels=4),
}


def image_size(backbone: dict) -> int:
    """Side of images, in pixels, whose last maps are at least 2 x 2: a norm of three numbers would amplify rounding."""
    return 64 if backbone['type'] == 'ResNet' else 16


def build(method: str, backbone: dict = RESNET, **kwargs) -> nn.Module:
    """A classifier of 10 classes in float64 and training mode; ``kwargs`` are its own.

    Norms, biases and classifiers get random values, lest a mistake hides behind ones, zeros and logits that are all alike.
    """
    torch.manual_seed(0)
    backbone = MODELS.build(dict(backbone))
    head = dict(type='LinearClsHead', num_classes=10, in_channels=getattr(backbone, 'feat_dim', 64))
    model = MODELS.build(
        dict(type=method, backbone=backbone, neck=dict(type='GlobalAveragePooling'), head=head, **kwargs)
    )
    model.init_weights()
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.ndim <= 2:
                parameter.add_(0.3 * torch.randn_like(parameter))
    return model.double().train()


def labels_of(samples: list) -> Tensor:
    return torch.cat([sample.gt_label for sample in samples])


def cross_entropy(z: Tensor, labels: Tensor) -> Tensor:
    """Mean over the images, one after the other."""
    return -sum(z[n].softmax(0)[label].log() for n, label in enumerate(labels.tolist())) / len(z)


def kd(student: Tensor, teacher: Tensor, T: float) -> Tensor:
    """T^2 KL(teacher || student), no gradient for the teacher; mean over the images."""
    p, q = (student / T).softmax(1), (teacher.detach() / T).softmax(1)
    return T**2 * (q * (q.log() - p.log())).sum() / len(p)


def trained(module: nn.Module) -> dict[str, Tensor]:
    return {name: p for name, p in module.named_parameters() if p.requires_grad}


def gradients(loss: Tensor, module: nn.Module) -> dict[str, Tensor]:
    """Name to gradient of each parameter that trains; zeros where no path leads."""
    parameters = trained(module)
    found = torch.autograd.grad(loss, list(parameters.values()), retain_graph=True, allow_unused=True)
    return {
        name: torch.zeros_like(p) if gradient is None else gradient
        for (name, p), gradient in zip(parameters.items(), found, strict=True)
    }


def reached(loss: Tensor, module: nn.Module) -> set[str]:
    """Names of the parameters that learn from ``loss``, up to what a norm cancels."""
    return {name for name, gradient in gradients(loss, module).items() if gradient.abs().max() > 1e-12}


def assert_terms(model: nn.Module, losses: dict[str, Tensor], expected: dict[str, Tensor]) -> None:
    """The same terms, each with the same value and the same gradients."""
    assert losses.keys() == expected.keys()
    for term in expected:
        torch.testing.assert_close(losses[term], expected[term], msg=lambda m, term=term: f'{term}: {m}')
        actual, gradient = gradients(losses[term], model), gradients(expected[term], model)
        torch.testing.assert_close(actual, gradient, rtol=1e-6, atol=1e-11, msg=lambda m, term=term: f'{term}: {m}')


def assert_baseline(model: nn.Module, batch: tuple) -> None:
    """The loss and all gradients are exactly those of a plain classifier, and nothing else trains."""
    plain = model.to_plain()
    assert model.state_dict().keys() == plain.state_dict().keys()
    (expected,) = plain.loss(*batch).values()
    losses = model.loss(*batch)
    assert torch.equal(sum(losses.values()), expected)
    expected, actual = gradients(expected, plain), gradients(sum(losses.values()), model)
    assert all(torch.equal(actual[name], gradient) for name, gradient in expected.items())
