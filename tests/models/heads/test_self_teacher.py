import torch

from mixskd_mm.models import Mixture, SelfTeacher
from mixskd_mm.models.stages import global_average_pool


def maps(seed=0, n=4, k=3, c=5):
    generator = torch.Generator().manual_seed(seed)
    return [torch.randn(n, c, 2, 3, generator=generator, dtype=torch.float64) for _ in range(k)]


def teacher():
    torch.manual_seed(0)
    return SelfTeacher(num_features=3, in_channels=5, num_classes=7).double()


def unpooled(h, features):
    """The paper's order: concatenate the maps, convolve them, then pool and classify."""
    return h.fc(h.conv(torch.cat(features, dim=1)).mean((2, 3)))


def test_on_pooled_features_equals_the_graph_on_whole_maps():
    h, features = teacher(), maps()
    logits = h([global_average_pool(f) for f in features])
    assert logits.shape == (4, 7)
    torch.testing.assert_close(logits, unpooled(h, features), rtol=1e-12, atol=1e-12)


def test_gradients_on_pooled_features_equal_those_of_the_graph_on_whole_maps():
    h, features = teacher(), [f.requires_grad_() for f in maps()]
    wrt = [*h.parameters(), *features]
    pooled = torch.autograd.grad(h([global_average_pool(f) for f in features]).square().sum(), wrt)
    whole = torch.autograd.grad(unpooled(h, features).square().sum(), wrt)
    for a, b in zip(pooled, whole):
        torch.testing.assert_close(a, b, rtol=1e-11, atol=1e-12)


def test_commutes_with_interpolation():
    """h of interpolated features is the interpolation of h: no norm, no activation."""
    h, features, mixture = teacher(), maps(), Mixture(0.3, [2, 0, 3, 1])
    interpolated_maps = unpooled(h, [mixture(f) for f in features])
    interpolated_logits = mixture(h([global_average_pool(f) for f in features]))
    torch.testing.assert_close(interpolated_logits, interpolated_maps, rtol=1e-12, atol=1e-12)


def test_parameters_are_a_convolution_without_bias_and_a_classifier():
    shapes = {name: tuple(p.shape) for name, p in teacher().named_parameters()}
    assert shapes == {'conv.weight': (5, 15, 1, 1), 'fc.weight': (7, 5), 'fc.bias': (7,)}
