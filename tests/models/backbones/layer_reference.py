"""Layers written down a second time, for the tests to compare with: they take weights from modules, and no settings."""

import torch
import torch.nn.functional as F


def batch_norm(norm, x):
    """Training mode, over all but the channels of ``(N, C, ...)``."""
    shape = (1, -1, *[1] * (x.ndim - 2))
    dims = [dim for dim in range(x.ndim) if dim != 1]
    mean, variance = x.mean(dims).view(shape), x.var(dims, unbiased=False).view(shape)
    return norm.weight.view(shape) * (x - mean) / (variance + 1e-5).sqrt() + norm.bias.view(shape)


def batch_norm_relu(norm, x):
    return batch_norm(norm, x).clamp(min=0)


def norm_relu_conv(unit, x, **settings):
    """BN-ReLU-Conv with the weights of ``unit.norm`` and ``unit.conv``."""
    return F.conv2d(batch_norm_relu(unit.norm, x), unit.conv.weight, **settings)


def linear(layer, x):
    return x @ layer.weight.T + layer.bias


def randomised(module, seed=0):
    """``module`` in float64 and training mode, with random weights and biases of norms too."""
    generator = torch.Generator().manual_seed(seed)
    module.double().train()
    with torch.no_grad():
        for parameter in module.parameters():
            noise = torch.randn(parameter.shape, generator=generator, dtype=torch.float64)
            parameter.copy_(1 + 0.3 * noise if parameter.ndim == 1 else 0.3 * noise)
    return module


def random_maps(*shape, seed=1):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
