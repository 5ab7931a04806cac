"""Classifiers small enough to compute by hand, and images for them."""

import pytest
import torch
from mmpretrain.models import ImageClassifier
from torch import nn

import mixskd_mm  # noqa: F401  (registers everything)
from mixskd_mm.evaluation import LoadedClassifier


class Stages(nn.Module):
    """A backbone of the stages that it is given."""

    out_indices = (-1,)

    def __init__(self, *stages):
        super().__init__()
        self.res_layers = [f'layer{k}' for k in range(1, len(stages) + 1)]
        for name, stage in zip(self.res_layers, stages, strict=True):
            self.add_module(name, stage)

    def forward(self, x):
        outputs = []
        for name in self.res_layers:
            outputs.append(x := getattr(self, name)(x))
        return tuple(outputs[i] for i in self.out_indices)


class LinearHead(nn.Module):
    """w x + b of the flattened last map."""

    def __init__(self, weight, bias):
        super().__init__()
        self.weight, self.bias = nn.Parameter(weight), nn.Parameter(bias)

    def forward(self, feats):
        return feats[-1].flatten(1) @ self.weight.T + self.bias


@pytest.fixture
def make_classifier():
    """Function: stages, then softmax(weight x + bias); images are uint8 ``(N, 3, H, W)``."""

    def make(images, labels, weight, bias, stages=None, batch_size=2, **preprocessor):
        backbone = Stages(*(stages or [nn.Identity()]))
        model = ImageClassifier(backbone, head=LinearHead(weight, bias), data_preprocessor=preprocessor)
        samples = [dict(inputs=image) for image in images]
        return LoadedClassifier('by hand', model, samples, labels, batch_size)

    return make


@pytest.fixture
def by_brightness(make_classifier):
    """Function: classify grey images of one pixel as 0, 1 or 2, whichever of 0, 100 and 200 is nearest."""

    def make(values, labels, batch_size=2):
        images = torch.tensor(values, dtype=torch.uint8).reshape(-1, 1, 1, 1).expand(-1, 3, 1, 1)
        centres = torch.tensor([0.0, 100.0, 200.0])
        weight = (centres[:, None] / 3).expand(3, 3).clone()
        return make_classifier(images, labels, weight, -(centres**2) / 2, batch_size=batch_size)

    return make
