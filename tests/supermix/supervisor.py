"""A supervisor small enough to mix images for in a test."""

import torch.nn.functional as F


class Supervisor:
    """The network of the golden numbers: conv, ReLU, pool, conv, ReLU, global average, linear; logits times ``gain``."""

    def __init__(self, weights, gain):
        self.weights, self.gain = weights, gain
        self.seen = []

    def __call__(self, images):
        self.seen.append(len(images))
        w = {name: value.to(images) for name, value in self.weights.items()}
        x = F.relu(F.conv2d(images, w['conv1.weight'], w['conv1.bias'], padding=1))
        x = F.relu(F.conv2d(F.avg_pool2d(x, 2), w['conv2.weight'], w['conv2.bias'], padding=1))
        return self.gain * F.linear(x.mean((2, 3)), w['fc.weight'], w['fc.bias'])
