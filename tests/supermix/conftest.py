import golden
import pytest
import torch
from supervisor import Supervisor

from mixskd_mm.supermix import MaskSettings
from mixskd_mm.supermix.masks import soft_targets, source_indices


class Case:
    """A golden case: supervisor, source images, targets and settings, and what the original code returned."""

    def __init__(self, name, dtype=torch.float32):
        case = golden.case('supermix', name)
        self.hyper, self.values = case['hyper'], case['values']
        self.supervisor = Supervisor(golden.weights(case), self.hyper['gain'])
        x = {name: value.detach() for name, value in golden.tensors(case).items()}
        coarse = x['x_coarse'].repeat_interleave(self.hyper['repeat'], 2).repeat_interleave(self.hyper['repeat'], 3)
        self.images = (x['x_offset'] + coarse + x['x_fine']).to(dtype)
        self.indices = source_indices(self.hyper['B'], self.hyper['K'])
        self.classes = self.supervisor(self.images).argmax(1)
        self.weights = torch.tensor(self.hyper['dirichlet_lambda'], dtype=dtype)
        self.targets = soft_targets(self.classes[self.indices], self.weights, self.hyper['C'])
        self.sources = self.images[self.indices]
        # Samples whose success does not depend on how ties are broken.
        self.distinct = [
            b for b, count in enumerate(self.values['distinct_classes_in_set']) if count == self.hyper['K']
        ]

    def settings(self, max_iterations, tolerance=0.0):
        h = self.hyper
        return MaskSettings(h['K'], h['w'], float(h['sigma']), h['lambda_s'], 3.0, max_iterations, tolerance)


@pytest.fixture(params=['k2_sigma1', 'k2_sigma2', 'k3_sigma1'])
def case(request):
    return Case(request.param)


@pytest.fixture
def small_case():
    """One case in float64."""
    return Case('k2_sigma1', torch.float64)
